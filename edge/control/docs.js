// "Try it" on /docs: sends the request that a form describes to this server. The token stays in the page's memory.
"use strict";

function requestOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("input[name]")) {
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    else if (field.value !== "") query.set(field.name, field.value);
  }
  const headers = {};
  const token = document.getElementById("token").value.trim();
  if (token) headers["Authorization"] = `Bearer ${token}`;
  const body = form.querySelector("textarea");
  if (body && body.value.trim()) headers["Content-Type"] = "application/json";
  const options = { method: form.dataset.method, headers, credentials: "omit", redirect: "manual" };
  if (headers["Content-Type"]) options.body = body.value;
  return [query.size ? `${path}?${query}` : path, options];
}

function readable(text, type) {
  if (!type.includes("json")) return text.slice(0, 20000);
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

async function send(event) {
  event.preventDefault();
  const form = event.target, shown = form.querySelector("output");
  const [path, options] = requestOf(form);
  shown.hidden = false;
  shown.textContent = "waiting ...";
  const started = performance.now();
  try {
    const answer = await fetch(path, options);
    const text = await answer.text();
    const milliseconds = (performance.now() - started).toFixed(0);
    const type = answer.headers.get("Content-Type") || "";
    shown.textContent = `${answer.status} ${answer.statusText}, ${milliseconds} ms\n\n${readable(text, type)}`;
  } catch (error) {
    shown.textContent = `no answer: ${error.message}`;
  }
}

for (const form of document.querySelectorAll("form.try")) form.addEventListener("submit", send);
