/**
 * The shapes that several modules share; nothing runs here, and the file is not served.
 *
 * @typedef {Record<string, any>} Params  What the user asks for, as the server has it: `prompt`, `seed`, …
 *
 * @typedef {"hot" | "recompute" | "load" | "rebuild"} Cost  What changing a parameter costs.
 *
 * @typedef {object} Field  A row of the server's table of parameters.
 * @property {string} path  Where it is; `[]` stands for every item of a list.
 * @property {Cost} cost    What changing it costs, as a rule.
 *
 * @typedef {object} Processor
 * @property {boolean} latent        Whether it works on latents, not on images.
 * @property {boolean} network       Whether it is a network, whose weights have to be loaded.
 * @property {string | null} alias   The processor that runs for this name, where that is another.
 * @property {any} schema            What its parameters may be, as a JSON Schema.
 *
 * @typedef {object} Model
 * @property {string[]} controlnets  ControlNets that are known to fit.
 * @property {boolean} ip_adapter    Whether any IP-Adapter fits.
 *
 * @typedef {object} Catalogue  The answer of `GET /v1/schema`.
 * @property {any} schema                           The JSON Schema of the parameters.
 * @property {Field[]} fields                       What changing each of them costs.
 * @property {Record<string, Processor>} processors
 * @property {Record<string, Model>} models         Models that are known by name.
 * @property {Params} defaults                      What a new stream starts with.
 * @property {boolean} demo_alone                   Whether the server has the demo model and no other.
 *
 * @typedef {object} Stream  What the server says of a stream.
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
 * @property {number} [most]            How many items at most.
 * @property {string[]} [suggestions]
 *
 * @typedef {object} Problem  Something that went wrong, in words.
 * @property {"network" | "key" | "missing" | "busy" | "refused" | "server" | "media"} kind
 * @property {string} text         What happened.
 * @property {string} advice       What to do.
 * @property {number} [wait]       After how many milliseconds the server wants to be asked again.
 * @property {{path: string, reason: string}[]} [fields]
 */
export {};
