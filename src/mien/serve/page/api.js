// Requests to the service, and a plain sentence when there is no answer.

export const UNREAD = "This file cannot be read any more. Choose it again.";
const REFUSALS = {
  unsupported_media: "Mien does not read this kind of file.",
  corrupt_media: "This file is damaged or cut off.",
  too_large: "This is more than the service takes at once.",
};
let key = keptKey();

/** An error as a sentence for people; `code` is the stable code of the service, or "gone" when it does not answer. */
export class ServiceError extends Error {
  constructor(message, code, status = 0) {
    super(message);
    Object.assign(this, { code, status });
  }
}

/** Use a key from now on; returns true if the browser keeps it after a reload. */
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
    return ""; // a browser without storage asks for the key again
  }
}

export function authorization() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** fetch() that throws a ServiceError if the answer is an error. */
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

/** The sentence about a refusal, for the person who sent the file. */
export function refusalWords(code, message) {
  return REFUSALS[code] ?? sentence(message ?? "Mien could not take this.");
}

/** Adds a capital letter and a full stop. */
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

/** Returns whether the service answers. */
export async function alive() {
  try {
    return (await fetch("/healthz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** The address of the live stream, and the first message to send. */
export function streamAddress() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`;
}

export function streamGreeting(options) {
  return JSON.stringify(key ? { ...options, key } : options);
}
