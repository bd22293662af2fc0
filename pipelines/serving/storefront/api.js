// Asking the server. Every failure is a Problem, as the server words it.

const KEY = "shoploom.key";

export class Problem extends Error {
  constructor(told, status = 0, waits = 0) {
    super(told.reason);
    this.code = told.code;
    this.mend = told.mend;
    this.requestId = told.request_id;
    this.status = status;
    this.waits = waits;
  }
}

const UNREACHABLE = {
  code: "unreachable",
  reason: "The server does not answer.",
  mend: "See whether shoploom serve still runs, then try again.",
  request_id: "",
};

export function keep(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** What a route answers; a body is posted. */
export async function ask(path, body) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { headers, credentials: "omit", cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.method = "POST";
    options.body = JSON.stringify(body);
  }
  let reply;
  let told;
  try {
    reply = await fetch(path, options);
    told = await reply.json();
  } catch {
    throw new Problem(UNREACHABLE, reply ? reply.status : 0);
  }
  if (reply.ok) {
    dispatchEvent(new CustomEvent("answered", { detail: told }));
    return told;
  }
  const problem = new Problem(told, reply.status, Number(reply.headers.get("Retry-After") || 0));
  if (reply.status === 401) dispatchEvent(new CustomEvent("keywanted", { detail: problem }));
  throw problem;
}
