//! The families of base models, and what fits each.

/// A line of checkpoints of the same architecture and components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelFamily {
    /// Stable Diffusion 1.x, and its distilled and pruned forms.
    Sd15,
    /// Stable Diffusion 2.x, SD-Turbo.
    Sd21,
    /// SDXL, SDXL-Turbo: two text encoders, with a pooled embedding and sizes as added conditions.
    Sdxl,
}

/// The properties of a family.
#[derive(Debug, PartialEq, Eq)]
pub struct FamilyInfo {
    /// The name in messages.
    pub name: &'static str,
    /// The number of text encoders; their states are joined on the channels.
    pub text_encoders: usize,
    /// Whether there are IP-Adapters of images for it.
    pub image_adapters: bool,
    /// Whether parameters may ask for an IP-Adapter of faces.
    pub face_adapters: bool,
    /// How many ControlNets may be enabled at a time.
    pub max_controlnets: Option<usize>,
}

/// The properties of the embedded demo model, whose networks are like those of Stable Diffusion 1.x, but smaller: only
/// ControlNets and an IP-Adapter of its own fit.
pub(crate) const DEMO: FamilyInfo = FamilyInfo {
    name: "the demo model",
    text_encoders: 1,
    image_adapters: true,
    face_adapters: false,
    max_controlnets: None,
};

/// The properties of SDXS-512-0.9, which has the text encoder of Stable Diffusion 2.1; ControlNets and IP-Adapters of that
/// family do not fit its smaller UNet.
pub(crate) const SDXS: FamilyInfo = FamilyInfo {
    name: "SDXS-512-0.9",
    text_encoders: 1,
    image_adapters: false,
    face_adapters: false,
    max_controlnets: None,
};

/// The properties of SDXS-512-DreamShaper, which has the text encoder of Stable Diffusion 1.5, and its own ControlNets.
pub(crate) const SDXS_DREAMSHAPER: FamilyInfo = FamilyInfo { name: "SDXS-512-DreamShaper", ..SDXS };

impl ModelFamily {
    /// Returns the row of the family.
    pub const fn info(self) -> &'static FamilyInfo {
        match self {
            Self::Sd15 => &FamilyInfo {
                name: "Stable Diffusion 1.5",
                text_encoders: 1,
                image_adapters: true,
                face_adapters: false,
                max_controlnets: None,
            },
            Self::Sd21 => &FamilyInfo {
                name: "Stable Diffusion 2.1",
                text_encoders: 1,
                image_adapters: false,
                face_adapters: false,
                max_controlnets: None,
            },
            Self::Sdxl => &FamilyInfo {
                name: "SDXL",
                text_encoders: 2,
                image_adapters: true,
                face_adapters: true,
                max_controlnets: Some(3),
            },
        }
    }
}
