//! Style images: reading of the parameter, decoding, and the input of the image encoder.

use std::io::Cursor;
use std::panic::catch_unwind;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};

use super::clip_picture::{ClipFilter, ClipPictures};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Fit, FrameConverter, FrameView};
use crate::params::FACE_SCHEME;

/// The maximum number of numbers of a face's embedding.
const MAX_FACE: usize = 4096;
/// The maximum size of a style image, in bytes.
pub const MAX_STYLE_BYTES: usize = 16 << 20;
/// The maximum number of its pixels.
const MAX_PIXELS: u64 = 16 << 20;
/// The maximum memory for decoding it, in bytes: four for each pixel.
const MAX_MEMORY: u64 = MAX_PIXELS * 4;

/// The standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The content of the text of a style image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StyleText<'a> {
    /// A URL; the host of the engine fetches the image.
    Url(&'a str),
    /// The bytes of an image file.
    Bytes(Vec<u8>),
}

/// Reads the text of a style image: an http(s) URL, a data URI with base64, or bare base64.
///
/// # Errors
///
/// `InvalidArgument` for another format, or for a value that is too long.
pub fn read_style_text(text: &str) -> Result<StyleText<'_>> {
    let refuse = |what: String| Error::new(ErrorKind::InvalidArgument, what);
    let after = |scheme: &str| {
        let (head, rest) = (text.get(..scheme.len())?, text.get(scheme.len()..)?);
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if after("http://").or_else(|| after("https://")).is_some() {
        return Ok(StyleText::Url(text));
    }
    let digits = match after("data:") {
        Some(rest) => {
            let (kind, digits) = rest.split_once(',').unwrap_or((rest, ""));
            if !kind.to_ascii_lowercase().ends_with(";base64") {
                return Err(refuse("got a data URI without base64, expected one with base64".into()));
            }
            digits
        }
        None => text,
    };
    if digits.len() / 4 * 3 > MAX_STYLE_BYTES {
        return Err(refuse(format!("got {} bytes, expected at most {MAX_STYLE_BYTES}", digits.len() / 4 * 3)));
    }
    let bytes = decode(digits).ok_or_else(|| {
        refuse("got text that is not valid base64, expected an http(s) URL or an image in base64".into())
    })?;
    Ok(StyleText::Bytes(bytes))
}

/// Converts the bytes of an image file (PNG, JPEG, WebP) to a data URI, the form of a style image in parameters.
///
/// ```
/// use dreamframe::{StreamDiffusionParams, style_data_uri};
///
/// # fn main() -> dreamframe::Result<()> {
/// // A host reads a file here.
/// let image = b"\x89PNG\r\n\x1a\n";
/// let url = style_data_uri(image)?;
/// assert!(url.starts_with("data:image/png;base64,"));
/// let params = StreamDiffusionParams { ip_adapter_style_image_url: url.into(), ..Default::default() };
/// assert!(style_data_uri(b"BM").is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `InvalidArgument` for another format, or more than 16 MiB. The image is not decoded.
pub fn style_data_uri(bytes: &[u8]) -> Result<String> {
    let format = format_of(bytes)?;
    Ok(format!("data:{};base64,{}", format.to_mime_type(), BASE64.encode(bytes)))
}

/// The maximum side of the image that [`style_pixels_uri`] encodes: more than any published image encoder reads.
const PIXELS_SIDE: u32 = 512;

/// Converts pixels to a data URI, the form of a style image in parameters: the central square, scaled to 512x512 if it
/// is larger, as PNG. Alpha is dropped, without compositing.
///
/// ```
/// use dreamframe::{FrameView, PixelFormat, StreamDiffusionParams, style_pixels_uri};
///
/// # fn main() -> dreamframe::Result<()> {
/// let pixels = vec![127_u8; 640 * 480 * 4];
/// let url = style_pixels_uri(&FrameView::packed(PixelFormat::Bgra8, 640, 480, &pixels)?)?;
/// assert!(url.starts_with("data:image/png;base64,"));
/// let params = StreamDiffusionParams { ip_adapter_style_image_url: url.into(), ..Default::default() };
/// params.validate()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `OutOfMemory`.
pub fn style_pixels_uri(image: &FrameView<'_>) -> Result<String> {
    let side = image.width().min(image.height()).min(PIXELS_SIDE);
    let mut pixels = vec![0; side as usize * side as usize * 3];
    FrameConverter::new().to_bytes(image, Fit::Cover, side, side, &mut pixels)?;
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, PngFilter::Sub)
        .write_image(&pixels, side, side, ExtendedColorType::Rgb8)
        .map_err(|error| Error::new(ErrorKind::Internal, "failed to encode a valid image").with_source(error))?;
    style_data_uri(&file)
}

/// Converts the embedding of a face to a data URI, the form of a style image for an IP-Adapter of type `faceid`: the
/// numbers as little-endian `f32`, in base64.
///
/// ```
/// use dreamframe::{StreamDiffusionParams, face_data_uri};
///
/// # fn main() -> dreamframe::Result<()> {
/// // insightface's `normed_embedding` has 512 numbers.
/// let url = face_data_uri(&[0.04; 512])?;
/// assert!(url.starts_with("data:application/x-face-embedding;base64,"));
/// let params = StreamDiffusionParams { ip_adapter_style_image_url: url.into(), ..Default::default() };
/// assert!(face_data_uri(&[f32::NAN]).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `InvalidArgument` for no numbers, more than 4096, or one that is not finite.
pub fn face_data_uri(embedding: &[f32]) -> Result<String> {
    check_face(embedding)?;
    let bytes: Vec<u8> = embedding.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(format!("{FACE_SCHEME}{}", BASE64.encode(bytes)))
}

/// Reads what [`face_data_uri`] writes; `None` for a text of another kind.
///
/// # Errors
///
/// `InvalidArgument` for invalid base64, and numbers that [`face_data_uri`] does not write.
pub fn read_face(text: &str) -> Result<Option<Vec<f32>>> {
    let Some(digits) = face_digits(text) else { return Ok(None) };
    let refuse = |what: &str| Error::new(ErrorKind::InvalidArgument, what);
    let bytes = (digits.len() <= MAX_FACE * size_of::<f32>() * 2).then(|| decode(digits)).flatten();
    let bytes =
        bytes.ok_or_else(|| refuse("face embedding: got text that is too long or not base64, expected base64"))?;
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(refuse("face embedding: got a number of bytes that 4 does not divide, expected 32-bit floats"));
    }
    let numbers: Vec<f32> = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
    check_face(&numbers)?;
    Ok(Some(numbers))
}

/// Returns the base64 of a face's data URI; `None` for another text.
fn face_digits(text: &str) -> Option<&str> {
    let (head, digits) = (text.get(..FACE_SCHEME.len())?, text.get(FACE_SCHEME.len()..)?);
    head.eq_ignore_ascii_case(FACE_SCHEME).then_some(digits)
}

fn check_face(embedding: &[f32]) -> Result<()> {
    if (1..=MAX_FACE).contains(&embedding.len()) && embedding.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    let text = format!("face embedding: got {} numbers, expected 1 to {MAX_FACE} finite numbers", embedding.len());
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

/// Decodes base64 in the standard or the URL-safe alphabet, ignoring white space; `None` for invalid text.
fn decode(text: &str) -> Option<Vec<u8>> {
    let usual = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(usual).collect();
    BASE64.decode(digits).ok()
}

/// Returns the format of an image file, if it is supported and the file is not too large.
fn format_of(bytes: &[u8]) -> Result<ImageFormat> {
    let refuse = |what: String| Error::new(ErrorKind::InvalidArgument, what);
    if bytes.len() > MAX_STYLE_BYTES {
        return Err(refuse(format!("got {} bytes, expected at most {MAX_STYLE_BYTES}", bytes.len())));
    }
    let known = image::guess_format(bytes).ok();
    known
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP))
        .ok_or_else(|| refuse("got another format, expected PNG, JPEG or WebP".into()))
}

/// An RGB8 image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StyleImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl StyleImage {
    /// Decodes a PNG, JPEG or WebP image. Alpha is dropped, without compositing.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for other formats, an invalid file, and too many bytes or pixels, before memory is allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        // In builds with overflow checks, the decoder of JPEG panics on some invalid files.
        catch_unwind(|| Self::decode_file(bytes)).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::InvalidArgument, "failed to decode the image: its decoder panicked"))
        })
    }

    fn decode_file(bytes: &[u8]) -> Result<Self> {
        let refuse = |what: String| Error::new(ErrorKind::InvalidArgument, what);
        let broken = |error: image::ImageError| refuse("failed to decode the image".into()).with_source(error);
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_MEMORY);
        let mut decoder =
            ImageReader::with_format(Cursor::new(bytes), format_of(bytes)?).into_decoder().map_err(broken)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(refuse(format!("got {width}x{height}, expected 1 to {MAX_PIXELS} pixels")));
        }
        decoder.set_limits(limits).map_err(broken)?;
        let pixels = DynamicImage::from_decoder(decoder).map_err(broken)?.into_rgb8().into_raw();
        Ok(Self { width, height, pixels })
    }

    /// Returns the centre of the image as CLIP's input, scaled with a Lanczos filter: see [`ClipPictures::make`].
    ///
    /// # Errors
    ///
    /// Those of [`ClipPictures::make`].
    pub fn for_clip(&self, side: usize) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        ClipPictures::new(ClipFilter::Lanczos).make(&self.pixels, (self.width, self.height), side, &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()));
            assert_eq!(decode(text.trim_end_matches('=')).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(decode("-_+/ \n").unwrap(), [0xfb, 0xff, 0xbf]);
        for text in ["A", "AAAAA", "AA=A", "AAA==", "AAAA=", "====", "A!A=", "äAAA"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        bytes
    }

    fn plain(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
        png(&RgbImage::from_pixel(width, height, image::Rgb(colour)).into())
    }

    #[test]
    fn texts_are_urls_data_uris_or_base64() {
        let bytes = plain(3, 2, [1, 2, 3]);
        let uri = style_data_uri(&bytes).unwrap();
        assert!(uri.starts_with("data:image/png;base64,iVBOR"), "{uri}");
        let bare = uri.split_once(',').unwrap().1;
        for text in [&*uri, bare, &uri.replacen("data:image/png", "DATA:image/jpeg", 1)] {
            assert_eq!(read_style_text(text).unwrap(), StyleText::Bytes(bytes.clone()), "{text}");
        }
        assert_eq!(read_style_text("HTTPS://a/b").unwrap(), StyleText::Url("HTTPS://a/b"));
        for (text, part) in [
            ("data:image/png,abc", "one with base64"),
            ("data:", "one with base64"),
            ("file:///etc/passwd", "not valid base64"),
            ("data:image/png;base64,A", "not valid base64"),
        ] {
            let refused = read_style_text(text).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }

    #[test]
    fn embeddings_of_faces_are_read_as_they_were_written() {
        let face = [0.25, -1.5, 3e-8];
        let uri = face_data_uri(&face).unwrap();
        assert_eq!(read_face(&uri).unwrap().as_deref(), Some(&face[..]));
        assert_eq!(read_face("https://a/b").unwrap(), None);
        for (digits, part) in [
            ("!", "not base64"),
            ("AAAAAAA", "4 does not divide"),
            ("", "got 0 numbers"),
            ("AADAfw==", "finite"),
            (&*"A".repeat(1 << 20), "too long"),
        ] {
            let refused = read_face(&format!("{FACE_SCHEME}{digits}")).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(refused.to_string().contains(part), "{digits}: {refused}");
        }
    }

    #[test]
    fn a_panic_of_the_decoder_is_an_error() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/style_image/overflow.jpg");
        // Without overflow checks in the decoder, this is a picture.
        if let Err(refused) = StyleImage::decode(&std::fs::read(file).unwrap()) {
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn invalid_images_and_decompression_bombs_are_rejected() {
        let whole = plain(64, 64, [9, 8, 7]);
        // The same file with a header of another size.
        let sized = |width: u32, height: u32| {
            let mut bytes = whole.clone();
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let crc = crc32fast::hash(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.to_be_bytes());
            bytes
        };
        for (bytes, part) in [
            (&b"no image"[..], "expected PNG, JPEG or WebP"),
            (b"BM\0\0", "expected PNG, JPEG or WebP"),
            (&[], "expected PNG, JPEG or WebP"),
            (&whole[..whole.len() / 2], "failed to decode"),
            (&sized(1_000_000, 1_000_000), "1000000x1000000"),
            (&sized(4096, 4097), "got 4096x4097, expected 1 to 16777216 pixels"),
            (&sized(4096, 4096), "failed to decode"),
            (&vec![0; MAX_STYLE_BYTES + 1], "at most 16777216"),
        ] {
            let refused = StyleImage::decode(bytes).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(refused.to_string().contains(part), "{refused}");
        }
        assert!(StyleImage::decode(&whole).unwrap().for_clip(0).is_err());
    }
}
