//! Compiled graphs in files beside the packed weights: some providers take minutes to compile a network.
//!
//! The files follow the rules of packed weights: each is for one build, one set of weight files and one graph, and is
//! authenticated with the user's secret, since a provider executes what is in it. Networks with merged LoRAs have none.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::OnnxExecutor;
use super::graph::Model;
use super::runtime::Session;
use crate::error::Result;
use crate::net::{PackedLayout, Program, Weights};

/// The version of the files' layout.
const VERSION: u32 = 1;
/// The key of the only section.
const SECTION: &str = "model";

impl OnnxExecutor {
    /// Returns a session of a graph that the provider has compiled, now or at an earlier start; `None` if there is no place
    /// for its file, or the provider does not compile it.
    ///
    /// # Errors
    ///
    /// Those of the weights.
    pub(super) fn compiled_session(
        &self,
        program: &Program,
        weights: &Weights,
        model: &Model,
    ) -> Result<Option<Session>> {
        let names: Vec<&str> = model.weights.iter().map(|weight| &*program.weights()[weight.weight].name).collect();
        let layout = self.layout(model);
        let Some(file) = weights.file(&names, &layout) else { return Ok(None) };
        if let Some(stored) = file.load(SECTION) {
            match self.device.sessions.compiled_session(model, &stored) {
                Ok(session) => {
                    weights.report_loaded(&names);
                    return Ok(Some(session));
                }
                // Another device, or another version of its driver.
                Err(error) => file.add_notice(format!("compiled network: {error:#}; it is compiled again")),
            }
        }
        let tensors = model.weights.iter().map(|weight| Self::weight(program, weights, weight));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        tracing::info!(network = program.name(), "compiling");
        let compiled = self.device.sessions.compile(model, &tensors);
        let made = compiled.and_then(|compiled| {
            let session = self.device.sessions.compiled_session(model, &compiled)?;
            file.save(SECTION, &compiled);
            Ok(session)
        });
        Ok(made
            .inspect_err(|error| tracing::debug!(network = program.name(), %error, "the network is not kept compiled"))
            .ok())
    }

    /// Returns the layout of the file of a graph, which names everything that it depends on besides the weights: the graph,
    /// the provider and its version.
    fn layout(&self, model: &Model) -> PackedLayout {
        let mut digest = Sha256::new();
        digest.update(&model.bytes);
        digest.update(self.version());
        let mut name = format!("{}-", self.device.row.provider);
        for byte in digest.finalize().iter().take(8) {
            // Writing to a text cannot fail.
            write!(name, "{byte:02x}").ok();
        }
        PackedLayout { name, version: VERSION }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::exec::cpu::tests::naive::GeneratedWeights;
    use crate::exec::cpu::tests::run;
    use crate::exec::onnx::tests::{executor, library};
    use crate::exec::{Dtype, Executor as _};
    use crate::net::{AlignedBytes, Forms, PackedStore, Parallel, ProgramBuilder, Rate, Sections, Shape, WeightSource};

    /// Files in memory, by the name of their layout.
    #[derive(Debug, Default, Clone)]
    struct Files(Arc<Mutex<HashMap<String, Vec<u8>>>>);

    impl PackedStore for Files {
        fn load(&self, layout: &PackedLayout, _: Parallel<'_>) -> (Sections, Vec<String>) {
            let files = self.0.lock().unwrap();
            let section = |bytes: &Vec<u8>| {
                let mut aligned = AlignedBytes::zeros(bytes.len()).unwrap();
                aligned.copy_from_slice(bytes);
                (SECTION.to_owned(), vec![aligned])
            };
            (files.get(&layout.name).map(section).into_iter().collect(), Vec::new())
        }

        fn save(&self, layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)], least: usize) -> Vec<String> {
            assert_eq!((sections.len(), sections[0].0, least), (1, SECTION, 0));
            self.0.lock().unwrap().insert(layout.name.clone(), sections[0].1.concat());
            Vec::new()
        }
    }

    /// Weights whose elements must not be read.
    struct Unread;

    impl WeightSource for Unread {
        fn shape(&self, name: &str) -> Option<Vec<usize>> {
            GeneratedWeights.shape(name)
        }

        fn read(&self, name: &str, _: &[usize]) -> Result<Vec<f32>> {
            panic!("{name} was read")
        }
    }

    fn program(width: usize) -> Arc<Program> {
        let mut builder = ProgramBuilder::new("one");
        let x = builder.input("x", Shape::new(1, 4, 4, 8), Rate::Frame);
        let y = builder.conv3x3("w", x, width);
        builder.output("y", y);
        Arc::new(builder.finish().unwrap())
    }

    fn weights(source: impl WeightSource + 'static, files: &Files) -> Weights {
        Weights::over(Arc::new(Forms::new(Arc::new(source), Some(Box::new(files.clone())))))
    }

    /// An executor whose provider's networks are compiled to files.
    fn compiling(library: &std::path::Path) -> OnnxExecutor {
        let mut executor = executor(library, Dtype::F32).unwrap();
        Arc::get_mut(&mut executor.device).unwrap().compiles = true;
        executor
    }

    #[test]
    fn a_compiled_network_is_read_from_its_file_at_the_next_start_without_the_weights() {
        let Some(library) = library() else { return };
        let (files, program) = (Files::default(), program(8));
        let first = compiling(&library).compile(&program, &weights(GeneratedWeights, &files)).unwrap();
        let plain = executor(&library, Dtype::F32).unwrap();
        let expected = run(&*plain.compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap());
        assert_eq!(run(&*first), expected);
        assert_eq!(files.0.lock().unwrap().len(), 1);
        let second = compiling(&library).compile(&program, &weights(Unread, &files)).unwrap();
        assert_eq!(run(&*second), expected);
    }

    #[test]
    fn each_graph_has_its_own_file() {
        let Some(library) = library() else { return };
        let files = Files::default();
        for width in [4, 8] {
            compiling(&library).compile(&program(width), &weights(GeneratedWeights, &files)).unwrap();
        }
        assert_eq!(files.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_the_provider_does_not_load_is_replaced_with_a_notice() {
        let Some(library) = library() else { return };
        let (files, program) = (Files::default(), program(8));
        compiling(&library).compile(&program, &weights(GeneratedWeights, &files)).unwrap();
        let good = files.0.lock().unwrap().clone();
        files.0.lock().unwrap().values_mut().for_each(|bytes| bytes.truncate(bytes.len() / 2));
        let weights = weights(GeneratedWeights, &files);
        compiling(&library).compile(&program, &weights).unwrap();
        let notices = weights.save();
        assert!(notices.len() == 1 && notices[0].contains("compiled again"), "{notices:?}");
        assert_eq!(*files.0.lock().unwrap(), good);
    }
}
