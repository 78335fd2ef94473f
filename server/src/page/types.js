/**
 * Types shared by several modules; the file has no code and is not served.
 *
 * @typedef {Record<string, any>} Params  Parameters in the server's format: `prompt`, `seed`, …
 *
 * @typedef {"hot" | "recompute" | "load" | "rebuild"} Cost  The cost of changing a parameter.
 *
 * @typedef {object} Field  A row of the server's table of parameters.
 * @property {string} path  The path; `[]` means every item of a list.
 * @property {Cost} cost    The usual cost of changing it.
 *
 * @typedef {object} Processor
 * @property {boolean} latent        Whether it processes latents instead of images.
 * @property {boolean} network       Whether it is a network, whose weights have to be loaded.
 * @property {string | null} alias   The processor that this name is an alias of, if any.
 * @property {any} schema            The JSON Schema of its parameters.
 *
 * @typedef {object} Model
 * @property {string[]} controlnets  Known compatible ControlNets.
 * @property {boolean} ip_adapter    Whether there is a compatible IP-Adapter.
 *
 * @typedef {object} Catalogue  The answer of `GET /v1/schema`.
 * @property {any} schema                           The JSON Schema of the parameters.
 * @property {Field[]} fields                       The cost of changing each of them.
 * @property {Record<string, Processor>} processors
 * @property {Record<string, Model>} models         Models that are known by name.
 * @property {Params} defaults                      The parameters of a new stream.
 * @property {boolean} demo_alone                   Whether the server has the demo model only.
 *
 * @typedef {object} Stream  The stream object of the server.
 * @property {string} id
 * @property {string} name
 * @property {string} stream_key
 * @property {string} whip_url
 * @property {string} output_playback_id
 * @property {Params} params
 * @property {Params} [pipeline_params]
 *
 * @typedef {"switch" | "integer" | "number" | "text" | "choice" | "list" | "weighted" | "named" | "chain" | "image"} Kind
 *
 * @typedef {object} Choice
 * @property {string} value
 * @property {string} label
 * @property {string} [help]
 *
 * @typedef {object} Control  One control of the page, made from the schema.
 * @property {string} path
 * @property {string} label
 * @property {string} help
 * @property {Kind} kind
 * @property {Cost} cost
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {[number, number]} [span]  The part of the range that a slider covers.
 * @property {Choice[]} [choices]
 * @property {number} [most]            The maximum number of items.
 * @property {string[]} [suggestions]
 *
 * @typedef {object} Problem  An error for the user.
 * @property {"network" | "key" | "missing" | "busy" | "refused" | "server" | "media"} kind
 * @property {string} text         What happened.
 * @property {string} advice       What to do.
 * @property {number} [wait]       Milliseconds after which to retry.
 * @property {{path: string, reason: string}[]} [fields]
 */
export {};
