//! Pictures from the prompt alone.

use crate::engine::{check_size, dreamframe_engine_t, with};
use crate::frame::dreamframe_frame_t;
use crate::guard::guard;
use crate::picture::dreamframe_picture_info_t;
use crate::pointer::{self, OutStruct};
use crate::status::dreamframe_status_t;

/// Makes a picture from the prompt alone, and writes it into the host's memory. A grey frame is processed `delay` + 1 times,
/// so that the picture is that of the current parameters. Nothing of the grey remains with a first index of 0 in
/// `t_index_list`, and the picture depends on `seed`.
///
/// - Threads: one call at a time per object.
/// - Ownership: the host owns the target; the library keeps no pointer into it.
/// - Errors: those of `dreamframe_engine_process()`; the pixels of `target` are then unspecified.
///
/// @param[in]  engine    from `dreamframe_engine_create()`
/// @param[in]  target    receives the picture: of the size `dreamframe_engine_size()`, in any format
/// @param[out] out_info  how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_text_to_image(
    engine: *mut dreamframe_engine_t,
    target: *const dreamframe_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (target, out) = unsafe { (pointer::read(target)?, OutStruct::optional(out_info)?) };
        with(engine, |engine| {
            // SAFETY: likewise.
            let mut picture = unsafe { target.view_mut(None) }?;
            let size = engine.size();
            check_size((target.width, target.height), size)?;
            let info = engine.text_to_image_into(&mut picture)?;
            if let Some(out) = out {
                out.set(&dreamframe_picture_info_t::new(&info, size));
            }
            Ok(())
        })
    })
}
