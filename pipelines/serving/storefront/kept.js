// What this browser keeps of the page. Where it may keep nothing, the page works for as long as it is open.

const memory = new Map();

export function read(name, otherwise) {
  try {
    const text = localStorage.getItem(`shoploom.${name}`);
    return text === null ? (memory.get(name) ?? otherwise) : JSON.parse(text);
  } catch {
    return memory.get(name) ?? otherwise;
  }
}

export function write(name, value) {
  memory.set(name, value);
  try {
    localStorage.setItem(`shoploom.${name}`, JSON.stringify(value));
  } catch {
    // A private window: it stays in memory.
  }
}

/** A new id that nobody can guess. */
export function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
