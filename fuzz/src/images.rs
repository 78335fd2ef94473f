//! A target that receives pictures in parameters.

use dreamframe::conditioning::style::{MAX_STYLE_BYTES, StyleImage, StyleText, read_face, read_style_text};
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{ErrorKind, face_data_uri, style_data_uri};

/// The side of what the image encoder reads here; real ones read 224.
const SIDE: usize = 16;

/// Any bytes as an image file, and as the text of a style image: it is refused with a reason, or the encoder's input is
/// of its size and finite; an address that is written is read again.
pub fn style_image(bytes: &[u8]) {
    check_image(bytes);
    if let Ok(uri) = style_data_uri(bytes) {
        assert_eq!(read_style_text(&uri).expect("a written address is read"), StyleText::Bytes(bytes.to_vec()));
        let params = StreamDiffusionParams { ip_adapter_style_image_url: uri.into(), ..Default::default() };
        params.validate().expect("a written address is a valid parameter");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_text(text);
    }
}

fn check_image(bytes: &[u8]) {
    match StyleImage::decode(bytes) {
        Ok(image) => {
            let input = image.for_clip(SIDE).expect("a decoded image has an input");
            assert!(input.len() == SIDE * SIDE * 3 && input.iter().all(|number| number.is_finite()));
        }
        Err(error) => assert!(error.kind() == ErrorKind::InvalidArgument && !error.to_string().is_empty(), "{error}"),
    }
}

fn check_text(text: &str) {
    match read_style_text(text) {
        Ok(StyleText::Bytes(image)) => {
            assert!(image.len() <= text.len().min(MAX_STYLE_BYTES));
            check_image(&image);
        }
        Ok(StyleText::Url(url)) => assert_eq!(url, text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(Some(face)) = read_face(text) {
        let again = face_data_uri(&face).expect("a face that was read can be written");
        assert_eq!(read_face(&again).expect("a written face is read"), Some(face));
    }
}
