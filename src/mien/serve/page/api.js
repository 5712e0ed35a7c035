// The service's answers, and in plain words why there is none.

export const UNREAD = "This file cannot be read any more. Choose it again.";
const REFUSALS = {
  unsupported_media: "Mien does not read this kind of file.",
  corrupt_media: "This file is damaged or cut off.",
  too_large: "This is more than the service takes at once.",
};
let key = keptKey();

/** What went wrong, as a sentence for people; `code` is the service's stable word, or "gone" when it does not answer. */
export class ServiceError extends Error {
  constructor(message, code, status = 0) {
    super(message);
    Object.assign(this, { code, status });
  }
}

/** Use a key from now on; true where the browser keeps it when the page is loaded again. */
export function setKey(text) {
  key = text;
  try {
    sessionStorage.setItem("mien-key", text);
    return true;
  } catch {
    return false;
  }
}

function keptKey() {
  try {
    return sessionStorage.getItem("mien-key") ?? "";
  } catch {
    return ""; // a browser that keeps nothing asks for the key again
  }
}

export function authorization() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** fetch() that throws a ServiceError unless the answer is good. */
export async function call(path, options = {}) {
  const { headers, ...rest } = options;
  let answer;
  try {
    answer = await fetch(path, { ...rest, headers: { ...authorization(), ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (options.body instanceof Blob && (await alive())) throw new ServiceError(UNREAD, "unread");
    throw new ServiceError("Mien does not answer. Is “mien serve” still running?", "gone");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  const { code, message } = await answer.json().then((body) => body.error ?? {}, () => ({}));
  if (answer.status === 401) return new ServiceError("This service asks for a key.", "key", 401);
  if (answer.status === 503) return new ServiceError("Mien is busy right now. Try again in a moment.", "busy", 503);
  if (answer.status >= 500) return new ServiceError("Something went wrong inside Mien; its log says more.", "internal", answer.status);
  return new ServiceError(refusalWords(code, message), code ?? "refused", answer.status);
}

/** What a refusal means for the person who sent the file. */
export function refusalWords(code, message) {
  return REFUSALS[code] ?? sentence(message ?? "Mien could not take this.");
}

/** With a capital and a full stop. */
export function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}

/** The models of the service, the one in use first. */
export async function models() {
  const body = await (await call("/v1/models")).json();
  return body.models ?? body;
}

/** The faces of one photo; with `explain`, each has a heat map. */
export async function analyze(file, { explain = false, signal } = {}) {
  const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  const answer = await call(`/v1/analyze${explain ? "?explain=true" : ""}`, { method: "POST", body: file, headers: { "Content-Type": type }, signal });
  return answer.json();
}

/** Whether the service answers at all. */
export async function alive() {
  try {
    return (await fetch("/healthz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** The live socket's address and what has to be said first on it. */
export function streamAddress() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`;
}

export function streamGreeting(options) {
  return JSON.stringify(key ? { ...options, key } : options);
}
