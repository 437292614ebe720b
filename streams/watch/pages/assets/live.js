// Keeps an open page up to date: when publish says that something changed, the page is fetched again and its main part
// replaced. Without this script the same page is had by loading it again.
"use strict";
(() => {
  const status = document.getElementById("live"), updated = document.getElementById("updated");
  const LEAST_MS = 1000, SPREAD_MS = 2000, LONGEST_MS = 60000;
  let timer = 0, busy = false, again = false, fetched = 0, wait = LEAST_MS;

  const main = () => document.getElementById("main");
  // What somebody has begun to write is theirs: such a page waits.
  const written = () => [...main().querySelectorAll("input, textarea, select")].some((field) =>
    field.tagName === "SELECT"
      ? [...field.options].some((option) => option.selected !== option.defaultSelected)
      : field.value !== field.defaultValue);
  const say = (text) => { if (status && status.textContent !== text) status.textContent = text; };
  // What is read out: only what is said first on the page, and only when more than its numbers has become another.
  const said = () => [...main().querySelectorAll(".lead, .alarm, .notice")].map((one) => one.innerText).join(" ");

  const wordsOf = (text) => text.replace(/[-+\d.,:%]+/g, "");

  // Where the focus is, by an id or by what is linked, so that it can be found in the new part.
  const place = () => {
    const at = document.activeElement;
    if (!at || !main().contains(at) || at === main()) return null;
    if (at.id) return "#" + CSS.escape(at.id);
    const link = at.getAttribute("href");
    return link ? `a[href="${CSS.escape(link)}"]` : at.tagName.toLowerCase();
  };

  // A picture that was seen stays until the newer one is here: drawing takes a moment, and may fail.
  const path = (picture) => picture.querySelector("img").getAttribute("src").split("?")[0];
  const age = (picture) => Number(new URL(picture.querySelector("img").src).searchParams.get("v"));
  const pictures = () => [...main().querySelectorAll("picture")];
  const keepPictures = (part) => {
    for (const next of part.querySelectorAll("picture")) {
      const shown = pictures().find((one) => path(one) === path(next));
      const seen = shown && shown.querySelector("img");
      if (!seen || (seen.complete && !seen.naturalWidth)) continue;
      next.replaceWith(shown);
      if (!seen.complete || age(shown) === age(next)) continue;  // still on its way, or not come into view
      const image = next.querySelector("img");
      image.addEventListener("load", () => {
        const old = pictures().find((one) => path(one) === path(next));
        if (old && age(old) < age(next)) old.replaceWith(next);
      });
      image.loading = "eager";
      document.adoptNode(next);
    }
  };

  const replace = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const part = next.getElementById("main");
    if (!part || written()) return false;
    const focus = place();
    const open = new Set([...main().querySelectorAll("details[open]")].map((one) => one.id));
    for (const one of part.querySelectorAll("details")) if (one.id && open.has(one.id)) one.open = true;
    keepPictures(part);
    const before = said();
    main().replaceChildren(...part.childNodes);
    main().dataset.version = part.dataset.version;
    if (wordsOf(said()) !== wordsOf(before)) say(said());
    if (updated) updated.textContent = "Updated " + new Date().toLocaleTimeString();
    document.title = next.title;
    if (focus) {
      const found = main().querySelector(focus);
      if (found) found.focus({ preventScroll: true });
    }
    return true;
  };

  const load = async () => {
    timer = 0;
    if (document.hidden) { again = true; return; }
    if (busy) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
      fetched = Date.now();
      if (answer.ok) {
        wait = LEAST_MS;
        if (!replace(await answer.text())) {
          say("There is something new. Reload this page when you have finished writing.");
        }
      } else {
        again = true;
      }
    } catch {
      again = true;
    }
    busy = false;
    if (again) { wait = Math.min(2 * wait, LONGEST_MS); soon(); }
  };
  // Everyone hears of a window at the same moment; they need not all ask in it.
  const soon = () => {
    if (timer) return;
    const since = Math.max(0, wait - (Date.now() - fetched));
    timer = setTimeout(load, since + Math.random() * SPREAD_MS);
  };

  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) soon(); });
  if (!window.EventSource || !main() || main().dataset.live !== "yes") return;
  let version = main().dataset.version;
  const heard = (event) => {
    if (event.lastEventId === version) return;
    version = event.lastEventId;
    soon();
  };
  const listen = () => {
    const events = new EventSource("/events");
    for (const name of ["hello", "window", "change"]) events.addEventListener(name, heard);
    events.addEventListener("error", () => {
      // A browser comes back by itself unless it was told not to: then there are as many streams as there may be.
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, LONGEST_MS * (1 + Math.random()));
    });
  };
  listen();
})();
