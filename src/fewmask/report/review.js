// Keyboard review of masks. Everything comes from the JSON in the page; names are written as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("review-data").textContent);
  const viewer = document.getElementById("viewer");
  const gallery = document.getElementById("gallery");
  const decisions = { a: "accept", f: "fix", r: "reject" };
  const store = "fewmask-review " + data.run;
  const reviews = new Map(remembered().map((one) => [one.case, one]));
  const done = [];  // what can be undone: a case's place, and what was said of it before
  let at = 0, slice = 0, opacity = 0.45, layer = 0;

  // What was decided outlives a reload where the browser keeps anything for a file; the export is what counts.
  function remembered() {
    try {
      const known = new Map(data.cases.map((one) => [one.case, one.mask || ""]));
      return JSON.parse(localStorage.getItem(store) || "[]").filter((one) => known.get(one.case) === one.mask);
    } catch { return []; }
  }
  function remember() {
    try { localStorage.setItem(store, JSON.stringify([...reviews.values()])); } catch { /* a private window */ }
  }

  function make(tag, parent, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    if (parent) parent.append(element);
    return element;
  }
  const number = (value) => (value === null ? "–" : value.toFixed(2));
  const layers = (one) => Object.keys(one.layers || {});

  function reviewOf(one) {
    if (!reviews.has(one.case)) {
      reviews.set(one.case, { case: one.case, decision: null, grade: null, note: "", mask: one.mask || "" });
    }
    return reviews.get(one.case);
  }

  // One slice of a picture in which all slices stand under each other.
  function crop(source, one, index, width, box) {
    const picture = make("img", box);
    picture.alt = "";
    picture.src = source;
    picture.style.top = -(index * width * one.height) / one.width + "px";
    return picture;
  }

  const cards = data.cases.map((one, index) => {
    const card = make("button", gallery, undefined, "card");
    card.type = "button";
    card.addEventListener("click", () => { open(index); viewer.focus({ preventScroll: true }); viewer.scrollIntoView({ block: "nearest" }); });
    const thumb = make("span", card, undefined, "thumb");
    make("span", card, one.case, "line");
    const line = make("span", card, undefined, "line");
    make("span", line, one.flag, "flag " + one.flag);
    make("span", line, one.predicted === null ? "" : " " + number(one.predicted));
    make("span", line, "", "flag decision");
    return { card, thumb, decision: line.lastChild };
  });
  // Pictures are decoded when their card comes into sight: 400 cases open at once.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      const one = data.cases[cards.findIndex((known) => known.card === entry.target)];
      if (!one.image) continue;
      const box = entry.target.firstChild, width = entry.target.clientWidth, middle = one.slices.length >> 1;
      box.style.height = (width * one.height) / one.width + "px";
      crop(one.image, one, middle, width, box);
      crop(one.layers[layers(one)[0]], one, middle, width, box).style.opacity = opacity;
    }
  });
  cards.forEach(({ card }) => seen.observe(card));

  function mark(index) {
    const review = reviews.get(data.cases[index].case);
    const text = review ? [review.decision, review.grade].filter((part) => part !== null).join(" ") : "";
    cards[index].decision.textContent = text;
    cards[index].decision.className = "flag decision " + ((review && review.decision) || "");
    cards[index].decision.hidden = text === "";
  }

  function open(index) {
    cards[at].card.removeAttribute("aria-current");
    at = Math.max(0, Math.min(data.cases.length - 1, index));
    slice = data.cases[at].slices ? data.cases[at].slices.length >> 1 : 0;
    layer = 0;
    cards[at].card.setAttribute("aria-current", "true");
    cards[at].card.scrollIntoView({ block: "nearest" });
    draw();
  }

  function draw() {
    const one = data.cases[at], review = reviewOf(one);
    viewer.replaceChildren();
    viewer.hidden = false;
    const stage = make("div", viewer, undefined, "stage");
    const side = 440;
    if (one.image) {
      const width = Math.round(one.width >= one.height ? side : (side * one.width) / one.height);
      stage.style.width = width + "px";
      stage.style.height = (width * one.height) / one.width + "px";
      crop(one.image, one, slice, width, stage);
      const shown = crop(one.layers[layers(one)[layer]], one, slice, width, stage);
      shown.style.opacity = opacity;
      shown.id = "overlay";
    }
    const says = make("div", viewer, undefined, "says");
    make("h3", says, one.case);
    const line = make("p", says);
    make("span", line, one.flag, "flag " + one.flag);
    const guess = one.predicted === null ? "agreement " + number(one.agreement)
      : "predicted Dice " + number(one.predicted) + " (90 %: " + number(one.low) + " to " + number(one.high) + ")";
    make("span", line, " " + guess + (one.role ? ", " + one.role : ""));
    if (one.trouble) make("p", says, "No picture: " + one.trouble);
    for (const row of one.classes) {
      const colour = (data.classes.find((known) => known.name === row.name) || {}).colour;
      const entry = make("p", says, undefined, "note");
      const square = make("span", entry, "■ ");
      if (colour) square.style.color = colour;
      make("span", entry, row.name + "  " + number(row.predicted) + "  " + row.flag + (row.reasons.length ? ": " + row.reasons.join("; ") : ""));
    }
    if (one.image) {
      const what = layers(one)[layer] === "mask" ? "" : ", pseudo-label " + layers(one)[layer] + " rectification";
      make("p", says, "slice " + one.slices[slice] + " of 0–" + (one.depth - 1) + what, "note").id = "place";
    }
    const buttons = make("p", says);
    for (const [key, decision] of Object.entries(decisions)) {
      const button = make("button", buttons, decision + " (" + key + ")");
      button.type = "button";
      button.setAttribute("aria-pressed", review.decision === decision);
      button.addEventListener("click", () => { decide(decision); });
    }
    make("span", buttons, review.grade === null ? "" : "grade " + review.grade);
    const note = make("textarea", says);
    note.id = "note";
    note.placeholder = "note (n)";
    note.setAttribute("aria-label", "note");
    note.value = review.note;
    note.addEventListener("input", () => { review.note = note.value; remember(); });
    make("p", says, (at + 1) + " of " + data.cases.length + ", " + decided().length + " reviewed", "note").id = "progress";
    const save = make("button", says, "export review.json (x)", "export");
    save.type = "button";
    save.addEventListener("click", exported);
    mark(at);
  }

  const said = (one) => one.decision !== null || one.grade !== null || one.note !== "";
  const decided = () => [...reviews.values()].filter(said);

  function change(what) {
    const review = reviewOf(data.cases[at]);
    done.push({ index: at, before: { decision: review.decision, grade: review.grade } });
    Object.assign(review, what);
    remember();
    mark(at);
  }

  // A decision shows the next case: what it takes back lies there, not here.
  function undo() {
    const last = done.pop();
    if (!last) return;
    Object.assign(reviewOf(data.cases[last.index]), last.before);
    remember();
    mark(last.index);
    open(last.index);
  }

  function decide(decision) {
    change({ decision });
    if (at + 1 < data.cases.length) open(at + 1); else draw();
    viewer.focus({ preventScroll: true });
  }

  function exported() {
    const content = { format: data.format, run: data.run, reviews: decided() };
    const link = make("a", document.body);
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2) + "\n"], { type: "application/json" }));
    link.download = "review.json";
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // NiiVue on the whole volume: planes and rendering, with its own mouse; the keys stay those of the review.
  async function turnable() {
    const one = data.cases[at];
    if (!one.volume) return;
    draw();
    const stage = viewer.querySelector(".stage");
    stage.replaceChildren();
    stage.style.width = "640px";
    stage.style.height = "440px";
    const canvas = make("canvas", stage);
    canvas.id = "volume";
    canvas.width = 640;
    canvas.height = 440;
    const view = new niivue.Niivue({ isResizeCanvas: false, dragAndDropEnabled: false, logLevel: "error", backColor: [0, 0, 0, 1] });
    await view.attachToCanvas(canvas);
    view.addVolume(await niivue.NVImage.loadFromBase64({ base64: one.volume.image, name: "image.nii.gz" }));
    const mask = await niivue.NVImage.loadFromBase64({ base64: one.volume.mask, name: "mask.nii.gz", opacity });
    view.addVolume(mask);
    const part = (place) => [0, ...data.classes.map((known) => parseInt(known.colour.slice(place, place + 2), 16))];
    mask.setColormapLabel({
      R: part(1), G: part(3), B: part(5), A: [0, ...data.classes.map(() => 255)],
      I: [0, ...data.classes.map((_, index) => index + 1)], labels: ["", ...data.classes.map((known) => known.name)],
    });
    view.setInterpolation(true);
    view.updateGLVolume();
    canvas.dataset.volumes = view.volumes.length;
  }

  function step(by) {
    const one = data.cases[at];
    if (!one.slices) return;
    slice = Math.max(0, Math.min(one.slices.length - 1, slice + by));
    draw();
  }

  const keys = {
    ArrowRight: () => open(at + 1), ArrowLeft: () => open(at - 1), ArrowUp: () => step(1), ArrowDown: () => step(-1),
    "[": () => { opacity = Math.max(0, opacity - 0.15); draw(); }, "]": () => { opacity = Math.min(1, opacity + 0.15); draw(); },
    b: () => { layer = (layer + 1) % Math.max(1, layers(data.cases[at]).length); draw(); },
    n: () => { document.getElementById("note").focus(); }, x: exported,
    v: () => { turnable().catch((error) => { make("p", viewer, "No 3-D view: " + error.message, "note"); }); },
    u: undo,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.id === "note") {
      if (event.key === "Escape") viewer.focus();
      return;
    }
    const inside = viewer.contains(event.target) || gallery.contains(event.target) || event.target === document.body;
    if (!inside || (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " "))) return;
    if (event.target === document.body && ["ArrowUp", "ArrowDown"].includes(event.key)) return;  // the page scrolls
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;  // with caps lock, too
    if (decisions[key]) decide(decisions[key]);
    else if ("12345".includes(key)) { change({ grade: Number(key) }); draw(); viewer.focus({ preventScroll: true }); }
    else if (keys[key]) { keys[key](); if (key !== "n") viewer.focus({ preventScroll: true }); }
    else return;
    event.preventDefault();
  });
  viewer.addEventListener("wheel", (event) => {
    if (!event.target.closest(".stage")) return;
    event.preventDefault();
    step(event.deltaY < 0 ? 1 : -1);
  }, { passive: false });

  data.cases.forEach((_, index) => mark(index));
  if (data.cases.length) open(0);
})();
