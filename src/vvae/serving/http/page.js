"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, settings = {}, ...inside) => {
  const { class: name, on = {}, ...rest } = settings;
  const node = Object.assign(document.createElement(tag), rest);
  if (name) node.className = name;
  for (const [event, act] of Object.entries(on)) node.addEventListener(event, act);
  node.append(...inside);
  return node;
};

// --- the server -------------------------------------------------------------------------------------------------

let key = sessionStorage.getItem("key") || "";

async function ask(path, settings = {}) {
  for (;;) {
    const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
    const answer = await fetch(path, { ...settings, headers });
    if (answer.status !== 401) {
      if (answer.ok) return answer;
      const body = await answer.json().catch(() => ({}));
      const error = new Error(body.error?.message || `the server answered ${answer.status}`);
      error.status = answer.status;
      throw error;
    }
    $("ask-key").showModal();
    await new Promise((done) => $("ask-key").addEventListener("close", done, { once: true }));
    key = $("key").value.trim();
    sessionStorage.setItem("key", key);
  }
}

const tell = (text, wrong = false) => {
  $("state").textContent = text;
  $("state").classList.toggle("error", wrong);
};

// --- knobs ------------------------------------------------------------------------------------------------------

const MODES = { own: "profile's", fixed: "fixed", auto: "auto", sample: "sample", none: "none" };
const LANES = ["vibe", "tone", "relationship"]; // of the default space; another one shows its first closed dimensions
let space = null;
let turns = []; // {you: text} or {answers: [...], kept: index}
let writing = null;

async function load() {
  for (;;) {
    try {
      space = await (await ask("vvae/space")).json();
      break;
    } catch (error) {
      if (error.status !== 503) return tell(error.message, true);
      tell("the model is loading …");
      await new Promise((done) => setTimeout(done, 700));
    }
  }
  const adapters = space.adapters.map((one) => new Option(one.name));
  $("adapter").replaceChildren(...adapters);
  $("beside").replaceChildren(new Option("nothing", ""), ...space.adapters.map((one) => new Option(one.name)));
  people();
  $("of").replaceChildren(new Option("everybody", ""), ...space.speakers.map((one) => new Option(one.name)));
  $("knobs").tBodies[0].replaceChildren(...space.dimensions.map(knob));
  await profile();
  tell("");
  $("text").focus();
}

function people(chosen) {
  const group = (label, names) => {
    const node = make("optgroup", { label });
    node.append(...names.map((name) => new Option(name)));
    return node;
  };
  const groups = [group("speakers", space.speakers.map((one) => one.name))];
  if (space.personas.length) groups.unshift(group("personas", space.personas));
  $("speaker").replaceChildren(...groups);
  $("speaker").value = chosen ?? space.speakers[0]?.name ?? space.personas[0] ?? "";
}

function knob(dimension) {
  const name = dimension.name;
  const list = make("datalist", { id: `values-${name}` });
  list.append(...(dimension.labels.length ? dimension.labels : dimension.top).map((value) => new Option(value)));
  const value = make("input", { class: "text", placeholder: "", ariaLabel: `${name}: value`, on: { input: () => {
    if (value.value && mode.value !== "fixed") mode.value = "fixed";
  } } });
  value.setAttribute("list", list.id);
  const mode = make("select", { class: "mode", ariaLabel: `${name}: mode`, on: { change: () => {
    if (mode.value === "fixed") value.focus(); else value.value = "";
  } } });
  mode.append(...Object.entries(MODES).map(([key, label]) => new Option(label, key)));
  const rate = make("input", { class: "rate", type: "number", min: 0, max: 1, step: 0.05, placeholder: "—", ariaLabel: `${name}: rate` });
  const row = make("tr", { id: `knob-${name}` }, make("td", { title: dimension.description }, name), make("td", {}, mode), make("td", {}, value, list), make("td", {}, rate));
  Object.assign(row, { mode, value, rate });
  return row;
}

const rows = () => space.dimensions.map((one) => [one.name, $(`knob-${one.name}`)]);

async function profile() {
  const speaker = $("speaker").value;
  const found = await (await ask(`vvae/personas/${encodeURIComponent(speaker)}`)).json();
  const reach = space.adapters.find((one) => one.name === $("adapter").value)?.reach || {};
  for (const [name, row] of rows()) {
    row.value.placeholder = found.values[name] || "drawn";
    const r = reach[name];
    row.rate.title = r ? `${r.low} to ${r.high} (${r.basis})` : "";
  }
  const kept = space.personas.includes(speaker);
  $("name").value = kept ? speaker : "";
  if (kept) { // what is kept with it goes onto the knobs
    $("seed").value = found.seed ?? "";
    for (const [name, row] of rows()) {
      const one = found.knobs[name] || {};
      row.mode.value = !one.mode ? "own" : one.mode !== "fixed" ? one.mode : one.value === null ? "none" : "fixed";
      row.value.value = one.mode === "fixed" ? one.value ?? "" : "";
      row.rate.value = one.rate ?? "";
    }
  }
}

function persona() {
  const asked = { speaker: $("speaker").value };
  if ($("seed").value.trim()) asked.seed = Number($("seed").value);
  for (const [name, row] of rows()) {
    const one = {};
    if (row.mode.value === "fixed" && row.value.value) Object.assign(one, { mode: "fixed", value: row.value.value });
    if (row.mode.value === "none") Object.assign(one, { mode: "fixed", value: null });
    if (row.mode.value === "auto" || row.mode.value === "sample") one.mode = row.mode.value;
    if (row.rate.value !== "") one.rate = Number(row.rate.value);
    if (Object.keys(one).length) asked[name] = one;
  }
  return asked;
}

// --- chat -------------------------------------------------------------------------------------------------------

const messages = (end) => turns.slice(0, end).flatMap((turn) => {
  if (turn.you !== undefined) return [{ role: "user", content: turn.you }];
  const { text, error } = turn.answers[turn.kept];
  return error && !text ? [] : [{ role: "assistant", content: text || "..." }];
});

async function reply(at, changed = {}) {
  stop();
  const mine = (writing = new AbortController());
  busy(true);
  const adapters = [$("adapter").value, $("beside").value].filter(Boolean);
  const turn = { answers: adapters.map((adapter) => ({ adapter, text: "", z: null })), kept: 0 };
  const before = messages(at);
  turns = [...turns.slice(0, at), turn];
  draw();
  await Promise.all(turn.answers.map((answer) => stream(answer, before, changed, mine.signal).catch((error) => {
    if (error.name !== "AbortError") answer.error = error.message;
  })));
  if (writing === mine) {
    writing = null;
    busy(false);
  }
  draw();
}

async function stream(answer, before, changed, signal) {
  const asked = { ...persona(), ...changed };
  const body = { model: answer.adapter, messages: before, persona: asked, stream: true, temperature: Number($("temperature").value), top_p: Number($("top-p").value) };
  const response = await ask("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    held += value;
    const lines = held.split("\n\n");
    held = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, "");
      if (data === "[DONE]") continue;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      if (event.vvae) answer.z = event.vvae;
      answer.text += event.choices[0]?.delta?.content || "";
    }
    draw();
  }
}

function stop() {
  writing?.abort();
  writing = null;
  busy(false);
}

function busy(on) {
  $("stop").hidden = !on;
  $("send").hidden = on;
}

const again = () => {
  const last = turns.length - 1;
  if (last >= 0 && turns[last].answers) reply(last);
};

const bubbles = (text) => text.split("\n").filter((line) => line.trim()).map((line) => make("div", { class: "bubble" }, line));

function shown(turn, at, last) {
  if (turn.you !== undefined) return make("li", { class: "turn you" }, ...bubbles(turn.you));
  const two = turn.answers.length > 1;
  const answers = turn.answers.map((answer, index) => {
    const node = make("div", { class: `answer${two && index !== turn.kept ? " left" : ""}` });
    node.append(make("div", { class: "who" }, `${answer.z?.speaker || $("speaker").value} · ${answer.adapter}`));
    node.append(...bubbles(answer.text || (answer.error ? "" : "…")));
    if (answer.error) node.append(make("div", { class: "note error" }, answer.error));
    if (answer.z) node.append(chips(answer.z, at, last), ...answer.z.notes.map((note) => make("div", { class: "note" }, note)));
    if (two && index !== turn.kept) node.append(make("div", { class: "acts" }, make("button", { on: { click: () => { turn.kept = index; draw(); } } }, "Go on with this")));
    return node;
  });
  const acts = make("div", { class: "acts" });
  if (at === last) acts.append(make("button", { title: "Alt+R", on: { click: again } }, "Again"));
  return make("li", { class: "turn" }, make("div", { class: `answers${two ? " two" : ""}` }, ...answers), acts);
}

function chips(z, at, last) {
  const node = make("div", { class: "z" });
  for (const [name, slot] of Object.entries(z.z)) {
    const source = slot.value === null ? "null" : slot.source;
    const title = `${name}: ${slot.value ?? "null"} (${source}${slot.rate ? `, rate ${slot.rate.given}` : ""})${at === last ? " — click to move this knob and write the reply again" : ""}`;
    node.append(make("button", { class: source, title, on: { click: () => move(name, slot.value, at) } }, `${name}: ${slot.value ?? "—"}`));
  }
  return node;
}

function move(name, value, at) { // one knob, the others stay as they were drawn
  const row = $(`knob-${name}`);
  const input = make("input", { value: value ?? "", ariaLabel: `${name}: another value` });
  input.setAttribute("list", `values-${name}`);
  const form = make("form", { class: "acts", on: { submit: (event) => {
    event.preventDefault();
    const turn = turns[at], answer = turn.answers[turn.kept];
    row.mode.value = input.value ? "fixed" : "none";
    row.value.value = input.value;
    const keep = Object.fromEntries(Object.entries(answer.z.z).filter(([other]) => other !== name).map(([other, slot]) => [other, { mode: "fixed", value: slot.value, rate: slot.rate ? 1 : undefined }]));
    const rated = answer.z.z[name].rate || row.rate.value !== "";
    reply(at, { ...keep, [name]: { mode: "fixed", value: input.value || null, rate: rated ? 1 : undefined } });
  } } }, input, make("button", {}, "Write again"));
  const item = $("log").children[at];
  item.querySelectorAll("form").forEach((one) => one.remove());
  item.append(form);
  input.select();
  input.focus();
}

function draw() {
  const log = $("log"), below = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.replaceChildren(...turns.map((turn, at) => shown(turn, at, turns.length - 1)));
  if (below) log.scrollTop = log.scrollHeight;
  timeline();
}

function timeline() {
  const replies = turns.filter((turn) => turn.answers).map((turn) => turn.answers[turn.kept].z?.z).filter(Boolean);
  const dimensions = space?.dimensions ?? [];
  const usual = LANES.filter((name) => dimensions.some((dimension) => dimension.name === name));
  const closed = dimensions.filter((dimension) => dimension.labels.length).map((dimension) => dimension.name);
  $("timeline").replaceChildren(...(usual.length ? usual : closed.slice(0, LANES.length)).map((name) => {
    const cells = replies.map((z, number) => {
      const value = z[name].value ?? "—";
      const cell = make("span", { class: "cell", title: `reply ${number + 1}: ${value} (${z[name].source ?? "null"})` }, value);
      const hue = [...value].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
      cell.style.background = `hsl(${hue} 60% 60% / .3)`;
      return cell;
    });
    return make("div", { class: "lane" }, make("span", {}, name), ...cells);
  }));
}

$("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || writing) return;
  $("text").value = "";
  turns.push({ you: text });
  reply(turns.length);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("write").requestSubmit();
  }
});
$("stop").addEventListener("click", stop);
const fresh = () => { stop(); turns = []; draw(); $("text").focus(); };
$("new").addEventListener("click", fresh);
$("speaker").addEventListener("change", profile);
$("adapter").addEventListener("change", profile);
async function anew(chosen) { // after a persona was kept or deleted: the knobs say what is kept with the chosen one
  space = await (await ask("vvae/space")).json();
  people(chosen);
  $("seed").value = "";
  $("knobs").tBodies[0].replaceChildren(...space.dimensions.map(knob));
  await profile();
}

$("save").addEventListener("click", async () => {
  const name = $("name").value.trim();
  if (!name) return $("name").focus();
  const { speaker, ...asked } = persona();
  try {
    await ask(`vvae/personas/${encodeURIComponent(name)}`, { method: "PUT", body: JSON.stringify({ speaker, persona: asked }) });
    await anew(name);
    tell(`${name} is kept`);
  } catch (error) { tell(error.message, true); }
});
$("delete").addEventListener("click", async () => {
  const name = $("name").value.trim();
  if (!space.personas.includes(name)) return tell("choose a kept persona", true);
  try {
    await ask(`vvae/personas/${encodeURIComponent(name)}`, { method: "DELETE" });
    await anew();
    tell(`${name} is deleted`);
  } catch (error) { tell(error.message, true); }
});

// --- review -----------------------------------------------------------------------------------------------------

let place = 0, total = 0, item = null, chosen = 0;

async function review() {
  try {
    const found = await (await ask(`vvae/review?number=1&start=${place}&speaker=${encodeURIComponent($("of").value)}`)).json();
    total = found.total;
    item = found.items[0] || null;
    chosen = 0;
    counted(found.counts);
    judge();
  } catch (error) { tell(error.message, true); }
}

function counted(counts) {
  const lines = Object.entries(counts).map(([name, n]) => {
    const all = (n.accepted || 0) + (n.corrected || 0) + (n.null || 0);
    return make("div", {}, `${name}: ${n.accepted || 0} of ${all} accepted, ${n.corrected || 0} corrected, ${n.null || 0} without evidence`);
  });
  $("counts").replaceChildren(...lines);
}

function marked(text, span) {
  if (!span) return [text];
  const letters = Array.from(text); // evidence counts characters, JavaScript counts halves of some
  return [letters.slice(0, span[0]).join(""), make("mark", {}, letters.slice(...span).join("")), letters.slice(span[1]).join("")];
}

function judge() {
  $("place").textContent = item ? `${place + 1} of ${total.toLocaleString("en")}` : "nothing to review";
  if (!item) return $("item").replaceChildren();
  const names = Object.keys(item.values);
  const reply = make("div", { class: "reply" }, ...marked(item.reply, item.values[names[chosen]]?.evidence));
  const values = names.map((name, number) => {
    const said = item.said[name], slot = item.values[name];
    const act = (label, verdict) => {
      const button = make("button", { on: { click: () => say(name, verdict) } }, label);
      button.setAttribute("aria-pressed", String(said?.verdict === verdict));
      return button;
    };
    const outcome = said ? ` → ${said.verdict === "corrected" ? said.value : said.verdict}` : "";
    const node = make("div", { class: `value${number === chosen ? " now" : ""}`, on: { click: () => { if (chosen !== number) { chosen = number; judge(); } } } },
      make("span", {}, name), make("span", {}, slot.value, make("span", { class: "said" }, outcome)),
      make("span", { class: "acts" }, act("Accept", "accepted"), act("No evidence", "null"), make("button", { on: { click: () => correct(name, node) } }, "Correct")));
    return node;
  });
  const before = item.before.map((turn) => make("div", { class: "before" }, `${turn.speaker}: ${turn.text}`));
  $("item").replaceChildren(...before, make("div", { class: "who" }, item.speaker), reply, ...values);
}

function correct(name, node) {
  const input = make("input", { value: "", placeholder: "what it should be", ariaLabel: `${name}: what it should be` });
  input.setAttribute("list", `values-${name}`);
  const form = make("form", { class: "acts", on: { submit: (event) => { event.preventDefault(); if (input.value.trim()) say(name, "corrected", input.value.trim()); } } }, input, make("button", {}, "Keep"));
  node.append(form);
  input.focus();
}

async function say(name, verdict, value = null) {
  const same = item.said[name]?.verdict === verdict && verdict !== "corrected";
  try {
    const body = { pair: item.pair, dimension: name, verdict: same ? null : verdict, value };
    counted((await (await ask("vvae/review", { method: "POST", body: JSON.stringify(body) })).json()).counts);
    if (same) delete item.said[name]; else item.said[name] = { verdict, value };
    chosen = Math.min(Object.keys(item.values).indexOf(name) + 1, Object.keys(item.values).length - 1);
    tell("");
    judge();
  } catch (error) { tell(error.message, true); }
}

const step = (by) => { if (place + by >= 0 && place + by < total) { place += by; review(); } };
$("back").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("of").addEventListener("change", () => { place = 0; review(); });

// --- everywhere -------------------------------------------------------------------------------------------------

function tab(name) {
  for (const one of ["chat", "review"]) {
    $(one).hidden = one !== name;
    $(`tab-${one}`).setAttribute("aria-selected", String(one === name));
  }
  if (name === "review" && !item) review();
}
$("tab-chat").addEventListener("click", () => tab("chat"));
$("tab-review").addEventListener("click", () => tab("review"));
$("show-panel").addEventListener("click", () => {
  const on = $("panel").classList.toggle("shown");
  $("show-panel").setAttribute("aria-expanded", String(on));
  $("show-panel").textContent = on ? "Chat" : "Knobs";
});
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName);
  if (event.altKey && event.key.toLowerCase() === "r") { event.preventDefault(); again(); }
  else if (event.altKey && event.key.toLowerCase() === "n") { event.preventDefault(); fresh(); }
  else if (event.key === "Escape") stop();
  else if (event.key === "/" && !typing && !$("chat").hidden) { event.preventDefault(); $("text").focus(); }
  else if (!$("review").hidden && item && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const names = Object.keys(item.values);
    const acts = { ArrowRight: () => step(1), ArrowLeft: () => step(-1),
      ArrowDown: () => { chosen = Math.min(chosen + 1, names.length - 1); judge(); },
      ArrowUp: () => { chosen = Math.max(chosen - 1, 0); judge(); },
      a: () => say(names[chosen], "accepted"), n: () => say(names[chosen], "null"),
      c: () => correct(names[chosen], $("item").querySelector(".now")) };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  }
});
load();
