// Says when a page that renews itself cannot be renewed, so that nobody takes old figures for present ones.
"use strict";

function setStale(stale) {
  document.getElementById("stale").hidden = !stale;
}

document.addEventListener("htmx:error", () => setStale(true));
document.addEventListener("htmx:response:error", () => setStale(true));
document.addEventListener("htmx:after:swap", () => setStale(false));
