// How the page asks the service, and what it says where that fails.

export class Problem extends Error {}

export async function fetched(path, how = {}) {
  let reply;
  try {
    reply = await fetch(path, how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service does not answer. Is it still running?");
  }
  if (!reply.ok) throw new Problem(await reason(reply));
  return reply;
}

async function reason(reply) {
  try {
    return (await reply.json()).detail ?? `The service answered ${reply.status}.`;
  } catch {
    return `The service answered ${reply.status}.`;
  }
}

export function ask(path, image, settings, signal) {
  const query = new URLSearchParams(Object.entries(settings).filter(([, value]) => value !== "" && value != null));
  const form = new FormData();
  form.append("image", image.file, image.name);
  return fetched(`${path}?${query}`, { method: "POST", body: form, signal });
}

export function show(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

export function option(select, value, text) {
  select.append(new Option(text, value)); // which sets text, not markup
}
