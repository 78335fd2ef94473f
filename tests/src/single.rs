//! Tiny checkpoints in one file, and the diffusers folders that they are the same as.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde_json::Value;

/// What `tests/golden/generate/single.py` found out of one family.
#[derive(Debug, Deserialize)]
struct Table {
    configs: BTreeMap<String, Value>,
    /// By component and name in the file: how it is made, the shape of the weights it is made of, their names.
    tensors: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    /// What only training needed, with its shape.
    extra: BTreeMap<String, Vec<usize>>,
}

/// A tensor of a file.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its shape.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Its numbers.
    pub bytes: Vec<u8>,
}

/// The tensors of a file, by name.
pub type File = BTreeMap<String, Stored>;

/// A model of random weights in both forms.
#[derive(Debug, Clone)]
pub struct Single {
    /// The tensors of the one file.
    pub file: File,
    configs: BTreeMap<String, Value>,
    folder: BTreeMap<String, File>,
    xl: bool,
}

impl Single {
    /// Draws the tiny checkpoint of `family`: `sd15`, `sd21` or `sdxl`.
    ///
    /// # Panics
    ///
    /// Where there is no table of it.
    pub fn family(family: &str) -> Self {
        Self::with_words(family, None)
    }

    /// The same, where the text encoders know no more than `words` words: too few for a prompt, and quickly drawn.
    ///
    /// # Panics
    ///
    /// Where there is no table of it.
    pub fn of_words(family: &str, words: usize) -> Self {
        Self::with_words(family, Some(words))
    }

    fn with_words(family: &str, words: Option<usize>) -> Self {
        let path = format!("{}/golden/single/{family}.json", env!("CARGO_MANIFEST_DIR"));
        let mut table: Table = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut file: File = table.extra.into_iter().map(|(name, shape)| (name.clone(), draw(&name, &shape))).collect();
        let mut folder: BTreeMap<String, File> = BTreeMap::new();
        for (component, tensors) in table.tensors {
            let weights = folder.entry(component).or_default();
            for (original, row) in tensors {
                let [how, shape, names @ ..] = row.as_slice() else { panic!("{original}: {row:?}") };
                let mut shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
                if original.ends_with("token_embedding.weight") {
                    shape[0] = words.unwrap_or(shape[0]);
                }
                let parts: Vec<Stored> = names.iter().map(|name| draw(name.as_str().unwrap(), &shape)).collect();
                file.insert(original, make(how.as_str().unwrap(), &parts));
                weights.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()).zip(parts));
            }
        }
        for config in table.configs.values_mut().filter(|config| config.get("vocab_size").is_some()) {
            if let Some(words) = words {
                config["vocab_size"] = words.into();
            }
        }
        Self { file, configs: table.configs, folder, xl: family == "sdxl" }
    }

    /// The components that have weights.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.folder.keys().map(String::as_str)
    }

    /// Writes the one file.
    ///
    /// # Panics
    ///
    /// Where it cannot be written.
    pub fn write_file(&self, path: &Path) {
        write(&self.file, path);
    }

    /// Writes the diffusers folder, with the tokenizer of `converted`, a folder that was converted.
    ///
    /// # Panics
    ///
    /// Where it cannot be written.
    pub fn write_folder(&self, path: &Path, converted: &Path) {
        let mut index = serde_json::json!({
            "scheduler": ["diffusers", "EulerDiscreteScheduler"], "tokenizer": ["transformers", "CLIPTokenizer"],
        });
        let put = |place: &str, text: &str| {
            let path = path.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (component, weights) in &self.folder {
            let (library, class, name) = match component.as_str() {
                "unet" => ("diffusers", "UNet2DConditionModel", "diffusion_pytorch_model"),
                "vae" => ("diffusers", "AutoencoderKL", "diffusion_pytorch_model"),
                "text_encoder" => ("transformers", "CLIPTextModel", "model"),
                _ => ("transformers", "CLIPTextModelWithProjection", "model"),
            };
            index[component] = serde_json::json!([library, class]);
            put(&format!("{component}/config.json"), &self.configs[component].to_string());
            write(weights, &path.join(component).join(format!("{name}.safetensors")));
        }
        if self.xl {
            index["tokenizer_2"] = index["tokenizer"].clone();
        }
        put("model_index.json", &index.to_string());
        put("scheduler/scheduler_config.json", "{}");
        for tokenizer in ["tokenizer", "tokenizer_2"].into_iter().filter(|name| index.get(*name).is_some()) {
            for file in ["vocab.json", "merges.txt", "special_tokens_map.json"] {
                put(&format!("{tokenizer}/{file}"), &fs::read_to_string(converted.join(tokenizer).join(file)).unwrap());
            }
        }
    }
}

/// Numbers of a strength that keeps signals alive, the same for the same name.
fn draw(name: &str, shape: &[usize]) -> Stored {
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let (mean, strength) = match shape {
        [] | [_] if name.contains("norm") && name.ends_with("weight") => (1.0, 0.2),
        [] | [_] => (0.0, 0.2),
        [_, inputs @ ..] => (0.0, (3.0 / inputs.iter().product::<usize>() as f32).sqrt()),
    };
    let numbers = (0..shape.iter().product()).map(|_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let unit = (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0;
        f16::from_f32(mean + strength * unit).to_le_bytes()
    });
    Stored { shape: shape.to_vec(), dtype: Dtype::F16, bytes: numbers.flatten().collect() }
}

/// A tensor of the file from the weights of the folder.
fn make(how: &str, parts: &[Stored]) -> Stored {
    let Stored { mut shape, dtype, mut bytes } = parts[0].clone();
    match how {
        "stack" => {
            shape[0] *= parts.len();
            bytes = parts.iter().flat_map(|part| part.bytes.iter().copied()).collect();
        }
        "transpose" => {
            let &[rows, columns] = shape.as_slice() else { panic!("{shape:?} is no matrix") };
            let (numbers, _) = bytes.as_chunks::<2>();
            let places = (0..columns).flat_map(|x| (0..rows).map(move |y| y * columns + x));
            bytes = places.flat_map(|place| numbers[place]).collect();
            shape = vec![columns, rows];
        }
        "conv" => shape.extend([1, 1]),
        "same" => {}
        other => panic!("{other} is no way to make a tensor"),
    }
    Stored { shape, dtype, bytes }
}

fn write(file: &File, path: &Path) {
    let views = file
        .iter()
        .map(|(name, Stored { shape, dtype, bytes })| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let written = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
    fs::write(path, written).unwrap();
}
