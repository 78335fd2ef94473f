//! Compiles graphs, also for devices that this machine need not have.

use ort::compiler::ModelCompiler;

use super::{Arc, Call, Model, Result, Runtime, Session, Target, Weight, failed, graph_captures, plain};

impl Runtime {
    /// Returns `model` compiled by a provider: a model of one node for each part that the provider runs, with its engine.
    /// `options` are more options of the provider, `settings` those of the session.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the provider does not run a node of the model, or does not compile.
    pub(in super::super) fn compile(
        &self,
        model: &Model,
        weights: &[Arc<Weight>],
        target: &Target,
        options: &[(String, String)],
        settings: &[(&str, &str)],
    ) -> Result<Vec<u8>> {
        let _call = Call::first()?;
        let _exclusion = graph_captures::exclude();
        let compiled = (|| {
            let mut builder = self.builder(target, 1, false, options)?;
            for (name, value) in settings {
                builder = builder.with_config_entry(name, value).map_err(plain)?;
            }
            for (weight, value) in model.weights.iter().zip(weights) {
                let with_weight = builder.with_external_initializer(&weight.name, Arc::clone(&value.0));
                builder = with_weight.map_err(plain)?;
            }
            let compiler = ModelCompiler::new(builder)?.with_model_from_memory(&model.bytes)?;
            Ok(compiler.with_embed_ep_context()?.compile_to_buffer()?.as_slice().to_vec())
        })();
        compiled.map_err(failed)
    }

    /// Returns a session of what [`compile`](Self::compile) returned for `model`.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the provider does not load it.
    pub(in super::super) fn compiled_session(
        &self,
        model: &Model,
        compiled: &[u8],
        threads: usize,
        target: &Target,
        captures: bool,
    ) -> Result<Session> {
        let _call = Call::first()?;
        let _exclusion = graph_captures::exclude();
        let builder = self.builder(target, threads, captures, &[]).map_err(failed)?;
        self.commit(builder, compiled, model, target, captures)
    }
}
