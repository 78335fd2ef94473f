/** The STUN and TURN servers in the `Link` headers of WHIP and WHEP (RFC 9725). */

const LINK = /<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:\\.|[^"\\])*"|[^\s",;]*))*)/g;
const PARAMETER = /;\s*([\w-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s",;]*))/g;

/**
 * Reads the ICE servers of `Link` headers, which `Headers.get` joins by commas; other links are skipped.
 *
 * @param {string | null} links
 * @returns {RTCIceServer[]}
 */
export function iceServers(links) {
  const servers = [];
  for (const [, urls = "", parameters = ""] of (links ?? "").matchAll(LINK)) {
    /** @type {Record<string, string>} */
    const values = {};
    for (const [, name = "", quoted, plain = ""] of parameters.matchAll(PARAMETER)) {
      values[name.toLowerCase()] = quoted === undefined ? plain : quoted.replaceAll(/\\(.)/g, "$1");
    }
    const { rel = "", username, credential } = values;
    if (!rel.toLowerCase().split(/\s+/).includes("ice-server")) continue;
    servers.push({ urls, ...(username !== undefined && credential !== undefined && { username, credential }) });
  }
  return servers;
}

/**
 * Asks an endpoint for its ICE servers, before the offer: a browser gathers its candidates for the offer. Without an
 * answer, none are used.
 *
 * @param {string} endpoint
 * @param {Record<string, string>} headers
 * @param {number} time  The longest time to wait, in milliseconds.
 * @returns {Promise<RTCIceServer[]>}
 */
export async function askForIceServers(endpoint, headers, time) {
  try {
    const response = await fetch(endpoint, { method: "OPTIONS", headers, signal: AbortSignal.timeout(time) });
    return iceServers(response.headers.get("Link"));
  } catch {
    return [];
  }
}
