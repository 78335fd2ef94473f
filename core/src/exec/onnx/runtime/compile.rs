//! Compiles graphs for devices that this machine need not have.

use ort::compiler::ModelCompiler;

use super::{Arc, Model, Result, Runtime, Target, Weight, failed, plain};

impl Runtime {
    /// Returns `model` compiled by a plug-in: a model of one node for each part that the plug-in runs, with its engine.
    /// `options` are more options of the plug-in.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the plug-in does not run a node of the model, or does not compile.
    pub(in super::super) fn compile(
        &self,
        model: &Model,
        weights: &[Arc<Weight>],
        target: &Target,
        options: &[(String, String)],
    ) -> Result<Vec<u8>> {
        let compiled = (|| {
            let mut builder = self
                .builder(target, 1, options)?
                .with_config_entry("session.compile_only", "1")
                .map_err(plain)?
                .with_config_entry("session.disable_cpu_ep_fallback", "1")
                .map_err(plain)?;
            for (weight, value) in model.weights.iter().zip(weights) {
                let with_weight = builder.with_external_initializer(&weight.name, Arc::clone(&value.0));
                builder = with_weight.map_err(plain)?;
            }
            let compiler = ModelCompiler::new(builder)?.with_model_from_memory(&model.bytes)?;
            Ok(compiler.with_embed_ep_context()?.compile_to_buffer()?.as_slice().to_vec())
        })();
        compiled.map_err(failed)
    }
}
