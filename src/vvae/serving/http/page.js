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
const pause = (seconds, signal) => new Promise((done, failed) => {
  const timer = setTimeout(done, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason); }, { once: true });
});

// --- the server -------------------------------------------------------------------------------------------------

let key = sessionStorage.getItem("key") || "";

async function ask(path, settings = {}) {
  const former = key;
  let owners = false; // what is asked is theirs: a wrong key after that does not change it
  for (let tried = Boolean(key); ; tried = true) {
    const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
    const answer = await fetch(path, { ...settings, headers });
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => ({}));
    const refused = body.error?.code === "owner_only";
    owners ||= refused;
    if (answer.status !== 401 && !refused) {
      const error = new Error(body.error?.message || `the server answered ${answer.status}`);
      error.status = answer.status;
      error.after = Number(answer.headers.get("Retry-After")) || 0;
      throw error;
    }
    if (await askKey(refused ? "This needs the owner's key." : tried ? "This key is wrong." : "")) continue;
    remember(former); // what it is enough for still works
    throw new Error(owners ? "this needs the owner's key" : "this server asks for a key: load the page again to give it");
  }
}

function remember(given) {
  key = given;
  sessionStorage.setItem("key", key);
}

async function askKey(why) { // false where none is given
  for (;;) {
    $("key-wrong").textContent = why;
    $("ask-key").returnValue = "";
    $("ask-key").showModal();
    await new Promise((done) => $("ask-key").addEventListener("close", done, { once: true }));
    if ($("ask-key").returnValue !== "given") return false;
    const given = $("key").value.trim();
    if (/^[\x21-\x7e]+$/.test(given)) { // nothing else can stand in a header
      remember(given);
      return true;
    }
    why = "A key has letters, digits and signs of a plain keyboard alone.";
  }
}

const tell = (text, wrong = false) => {
  $("state").textContent = text;
  $("state").classList.toggle("error", wrong);
};

// Asked again where the server is busy, starts or is gone, until it answers or the signal says stop.
async function patiently(path, settings) {
  for (let number = 1; ; number++) {
    try {
      const answer = await ask(path, settings);
      if (number > 1) tell("");
      return answer;
    } catch (error) {
      const gone = error instanceof TypeError;
      if (!gone && error.status !== 429 && error.status !== 503) throw error;
      const wait = gone ? 2 : Math.min(error.after || 2, 30);
      const what = gone ? "The server does not answer" : error.status === 429 ? "The server is busy" : `Not yet: ${error.message}`;
      for (let left = wait; left > 0; left--) {
        tell(`${what}; trying again in ${left} s`, gone);
        await pause(1, settings?.signal);
      }
    }
  }
}

// --- knobs ------------------------------------------------------------------------------------------------------

const LANES = ["vibe", "tone", "relationship"]; // of the default space; another one shows its first closed dimensions
const RATES = [[0, "never"], [0.02, "about one reply in fifty"], [0.05, "about one reply in twenty"], [0.1, "about one reply in ten"], [0.2, "about one reply in five"], [0.35, "about one reply in three"], [0.5, "every other reply"], [0.75, "three replies in four"], [1, "every reply"]];
const STRENGTHS = [[0.5, "pushed a little"], [1, "pushed"], [2, "pushed hard"], [3, "pushed very hard"]];
let space = null;

async function load() {
  try {
    tell("Loading …");
    space = await (await patiently("vvae/space")).json();
  } catch (error) { return tell(error.message, true); }
  $("adapter").replaceChildren(...space.adapters.map((one) => new Option(one.name)));
  for (const field of ["adapter", "beside"]) $(field).parentNode.hidden = space.adapters.length < 2;
  $("beside").replaceChildren(new Option("nothing else", ""), ...space.adapters.map((one) => new Option(one.name)));
  people();
  $("of").replaceChildren(new Option("everybody's", ""), ...space.speakers.map((one) => new Option(called(one.name), one.name)));
  $("knobs").replaceChildren(...space.dimensions.map(knob));
  const words = space.openers[navigator.language.startsWith("zh") ? "unspaced" : "spaced"];
  $("starters").replaceChildren(...words.map((text) => make("button", { type: "button", on: { click: () => write(text) } }, text)));
  restore();
  await profile();
  draw();
  tell("");
  if (!matchMedia("(pointer: coarse)").matches) $("text").focus(); // on a phone the keyboard would cover the page
  watch();
}

async function watch() { // says what the server is at while nothing is asked
  for (;;) {
    await pause(5);
    if (writing || document.hidden) continue;
    const status = await fetch("health").then((answer) => answer.json()).then((body) => body.status, () => "gone");
    if (status !== "ok") tell({ gone: "The server does not answer", loading: "The model is loading …", restarting: "The engine is starting again …" }[status] || status, status === "gone");
    else if (/^The (server does|model is|engine is)/.test($("state").textContent)) tell("");
  }
}

const called = (name) => (/^[0-9a-f-]{16,}$/i.test(name) ? `${name.slice(0, 8)}…` : name); // a number is nobody's name

function people(chosen) {
  const option = ({ name, traits }) => new Option([called(name), ...(traits?.length ? [traits.join(", ")] : [])].join(": "), name);
  const group = (label, all) => make("optgroup", { label }, ...all.map(option));
  const groups = [group("speakers", space.speakers)];
  if (space.personas.length) groups.unshift(group("kept personas", space.personas.map((name) => ({ name }))));
  $("speaker").replaceChildren(...groups);
  $("speaker").value = chosen ?? space.speakers[0]?.name ?? space.personas[0] ?? "";
}

// A select, and a field that comes with it: an open dimension takes a value in words, too.
function choices(name, closed, attributes, ...options) {
  const other = make("input", { class: "other", hidden: true, dir: "auto", maxLength: 400, ariaLabel: `${name}: what else` });
  const choose = make("select", { ...attributes, on: { change: () => { other.hidden = choose.value !== "other"; if (!other.hidden) other.focus(); } } },
    ...options, ...(closed ? [] : [new Option("something else …", "other")]));
  return [choose, other];
}

// One select says it all: whose value, which value, or none.
function knob(dimension) {
  const name = dimension.name, closed = dimension.labels.length > 0;
  const own = new Option("the speaker's own", "own");
  const [choose, other] = choices(name, closed, { class: "choose", id: `choose-${name}` },
    own, new Option("follows the conversation", "auto"), new Option("varies at random", "sample"), new Option("none", "none"),
    make("optgroup", { label: closed ? "always" : "always (often in these chats)" }, ...(closed ? dimension.labels : dimension.top).map((value) => new Option(value, `=${value}`))));
  Object.assign(other, { required: true, pattern: ".*\\S.*", title: "a value, in words" });
  choose.addEventListener("change", () => { row.howOften.hidden = false; });
  const often = make("select", { ariaLabel: `${name}: how often it shows` });
  const push = make("select", { ariaLabel: `${name}: how hard it is pushed` }, new Option("as learnt", ""), ...STRENGTHS.map(([w, words]) => new Option(words, w)));
  const howOften = make("div", { class: "often", hidden: true }, make("label", {}, "shows ", often), push);
  const help = make("p", { id: `help-${name}`, hidden: true }, dimension.description);
  const button = make("button", { class: "help", type: "button", ariaLabel: `What is ${name}?`, on: { click: () => { help.hidden = !help.hidden; shown(row); button.setAttribute("aria-expanded", String(!help.hidden)); } } }, "?");
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", help.id);
  const row = make("div", { class: "knob", id: `knob-${name}` }, make("label", { class: "of", htmlFor: choose.id }, name), button, choose, other, howOften, help);
  return Object.assign(row, { own, choose, other, often, push, help, howOften, closed });
}

const rows = () => space.dimensions.map((one) => [one.name, $(`knob-${one.name}`)]);

function set(row, mode, value) {
  const listed = [...row.choose.options].some((option) => option.value === `=${value}`);
  row.choose.value = mode !== "fixed" ? mode || "own" : value === null ? "none" : listed ? `=${value}` : "other";
  row.other.hidden = row.choose.value !== "other";
  row.other.value = row.choose.value === "other" ? value : "";
}

function rates(row, reach, asked) {
  if ($("candidates").value) reach = null; // what no reply shows by itself is looked for
  const inside = reach ? RATES.filter(([rate]) => rate >= reach.low && rate <= reach.high) : RATES;
  const more = (asked ?? null) !== null && !inside.some(([rate]) => rate === asked) ? [[asked, `${+(100 * asked).toFixed(1)} of 100 replies`]] : [];
  row.often.replaceChildren(new Option("as often as it comes", ""), ...[...inside, ...more].map(([rate, words]) => new Option(words, rate)));
  row.often.title = reach ? `this adapter can show it in ${+(100 * reach.low).toFixed(1)} to ${+(100 * reach.high).toFixed(1)} of 100 replies (${reach.basis})` : "";
  row.often.value = asked ?? "";
  shown(row);
}

const rateOf = (row) => (row.often.value === "" ? undefined : Number(row.often.value));

// How often it shows and how hard it is pushed: in sight where it matters, or where it was chosen.
const shown = (row) => { row.howOften.hidden = !row.often.value && !row.push.value && row.help.hidden && ["own", "none"].includes(row.choose.value); };

function pushes(row, strength) { // strengths that the page does not offer were kept by somebody else
  if (strength && ![...row.push.options].some((option) => Number(option.value) === strength)) row.push.append(new Option(`pushed by ${strength}`, strength));
  row.push.value = strength || "";
  row.push.hidden = !space.adapters.find((one) => one.name === $("adapter").value)?.strength;
}

function tries(number) { // how many replies may be looked at
  if (number && ![...$("candidates").options].some((option) => option.value === String(number))) $("candidates").append(new Option(`up to ${number}`, number));
  $("candidates").value = number > 1 ? number : "";
}

let worn = null; // the knobs of a chat that was opened, until they are put on

let wore = false; // whether the knobs are those of a kept persona

async function profile() {
  const speaker = $("speaker").value;
  const found = await (await ask(`vvae/personas/${encodeURIComponent(speaker)}`)).json();
  if ($("speaker").value !== speaker) return; // another one was chosen meanwhile
  const is = space.adapters.find((one) => one.name === $("adapter").value), reach = is?.reach || {};
  const kept = space.personas.includes(speaker);
  const bare = wore && !kept; // what was kept with the former persona does not stay on the next one
  wore = kept;
  if (kept || bare) tries(found.candidates);
  $("candidates").kept = kept && found.candidates > 1; // what is off here may be on there
  for (const [name, row] of rows()) {
    const one = found.knobs[name] || {};
    const free = !is?.trained ? "not told (no habit known)" : found.habits.includes(name) ? "as they write" : "varies (no habit known)";
    const untold = is?.told && !is.told.includes(name);
    row.own.textContent = untold ? "not told to this adapter" : found.values[name] ? `${found.values[name]} (own habit)` : free;
    row.keptPush = kept && one.strength; // what is off here may be on there
    row.keptRate = kept && (one.rate ?? null) !== null;
    row.keptKnob = kept && one.mode && (found.values[name] ? { mode: "fixed", value: found.values[name] } : { mode: "sample" });
    if (kept || bare) set(row, one.mode, one.value ?? null); // what is kept with it goes onto the knobs
    pushes(row, kept || bare ? one.strength : Number(row.push.value));
    rates(row, reach[name], kept || bare ? one.rate : rateOf(row));
  }
  if (kept || bare) $("seed").value = found.seed ?? "";
  if (worn) {
    tries(worn.candidates);
    for (const [name, row] of rows()) {
      const one = worn[name];
      set(row, one?.mode, one?.value ?? null);
      pushes(row, one?.strength);
      rates(row, reach[name], one?.rate);
    }
    $("seed").value = worn.seed ?? "";
    worn = null;
  }
  $("likeness").hidden = true;
  $("how-like").hidden = kept; // it is nobody, and has no replies of its own
  $("name").value = kept ? speaker : "";
  for (const act of ["delete", "hand-on"]) $(act).disabled = !kept;
  $("whom").textContent = called(speaker);
  const replies = space.speakers.find((one) => one.name === speaker)?.replies;
  const trained = space.adapters.find((one) => one.name === $("adapter").value)?.trained;
  $("about").textContent = !trained ? `Nothing was trained for this: a small general model is told what ${called(speaker)} is like and shown a few messages. It plays the part, and not well; what training does is for you to compare.` : replies ? `A voice learnt from ${replies.toLocaleString("en")} replies. A language model writes in it; nobody said what it says.` : "A persona that was put together by hand. A language model writes as it; nobody said what it says.";
}

function persona(whole = false) { // `whole`: nothing stands behind it, as where it is kept under a name
  const asked = { speaker: $("speaker").value };
  if ($("candidates").value || $("candidates").kept) asked.candidates = Number($("candidates").value) || 1;
  if ($("seed").value.trim()) asked.seed = Number($("seed").value);
  for (const [name, row] of rows()) {
    const chosen = row.choose.value, one = {};
    const value = chosen === "other" ? row.other.value.trim() : chosen.startsWith("=") ? chosen.slice(1) : "";
    if (value) Object.assign(one, { mode: "fixed", value });
    else if (chosen === "none") Object.assign(one, { mode: "fixed", value: null });
    else if (chosen === "auto" || chosen === "sample") one.mode = chosen;
    else if (row.keptKnob && !whole) Object.assign(one, row.keptKnob);
    if (row.often.value) one.rate = Number(row.often.value);
    else if (row.keptRate) one.rate = null;
    if (!row.push.hidden && (row.push.value || row.keptPush)) one.strength = Number(row.push.value);
    if (Object.keys(one).length) asked[name] = one;
  }
  return asked;
}

function settings() { // what is left empty is the server's; what is wrong is shown at its field and not sent
  if (!space) {
    tell("nothing is loaded yet", true);
    return null;
  }
  const open = rows().map(([, row]) => row).filter((row) => row.choose.value === "other").map((row) => row.other);
  const wrong = [...["temperature", "top-p", "max-tokens", "seed"].map($), ...open].find((field) => !field.checkValidity());
  if (wrong) {
    const more = wrong.closest("details");
    if (more) more.open = true;
    showPanel(true); // on a phone it stands behind the chat
    wrong.reportValidity();
    return null;
  }
  const asked = {};
  for (const [field, name] of [["temperature", "temperature"], ["top-p", "top_p"], ["max-tokens", "max_tokens"]]) if ($(field).value !== "") asked[name] = Number($(field).value);
  return asked;
}

// --- chat: a tree of turns, of which one path is shown ----------------------------------------------------------

// {you: text, next: [...], shown: index} or {answers: [...], kept: index, next, shown}; what is written anew stands
// beside what was there, and takes nothing away.
let root = { next: [], shown: 0 };
let writing = null;
let deleted = null;
const STORE = "vvae-chat";

function path(end = null) {
  const turns = [];
  for (let at = root; at.next.length; ) {
    at = at.next[at.shown];
    turns.push(at);
    if (at === end) break;
  }
  return turns;
}
const parentOf = (turn) => { const turns = path(turn); return turns.length > 1 ? turns.at(-2) : root; };
function beside(turn, parent) {
  parent.next.push(turn);
  parent.shown = parent.next.length - 1;
}

const origin = (name) => root.same?.[name] ?? name; // whom a persona was kept from in this chat: the same one speaks

function messages(parent) {
  const name = $("me").value.trim(), speaker = $("speaker").value;
  return (parent === root ? [] : path(parent)).flatMap((turn) => {
    if (turn.you !== undefined) return [{ role: "user", content: turn.you, ...(name && { name }) }];
    const { text, z } = turn.answers[turn.kept], who = z?.speaker ?? speaker;
    if (!text) return [];
    return [origin(who) === origin(speaker) ? { role: "assistant", content: text } : { role: "user", content: text, name: who }];
  });
}

async function reply(parent, changed = {}, former = {}) { // `former`: z of which all but what is changed is kept
  const asked = settings();
  if (!asked) return;
  stop();
  const mine = (writing = new AbortController());
  busy(true);
  const adapters = [$("adapter").value, $("beside").value].filter(Boolean);
  const turn = { answers: adapters.map((adapter) => ({ adapter, text: "", z: null, writing: true })), kept: 0, next: [], shown: 0 };
  const before = messages(parent);
  beside(turn, parent);
  draw();
  await Promise.all(turn.answers.map(async (answer) => {
    try {
      await stream(answer, before, { ...asked, persona: { ...persona(), ...changed } }, mine.signal, former);
    } catch (error) {
      if (error.name === "AbortError") answer.stopped = true; else answer.error = error.message;
    }
    delete answer.writing;
  }));
  turn.drawn = null;
  if (writing === mine) {
    writing = null;
    busy(false);
  }
  if (!writing) tell(""); // also after Stop, where it was tried again
  const said = turn.answers[turn.kept];
  if (said.text) $("heard").textContent = `${called(said.z?.speaker || $("speaker").value)}: ${said.text}`;
  draw();
  keep();
}

async function stream(answer, before, asked, signal, former) {
  const body = { model: answer.adapter, messages: before, stream: true, ...asked, ...($("waits").checked && { pauses: true }) };
  const response = await patiently("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
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
      if (event.vvae) {
        answer.z = { ...answer.z, ...event.vvae }; // the last piece says what became of the candidates
        for (const [name, { source }] of Object.entries(former)) if (answer.z.z[name]) answer.z.z[name].source = source;
      }
      answer.text += event.choices[0]?.delta?.content || "";
    }
    if (!body.pauses) grow(answer);
  }
  if (body.pauses) await typed(answer, signal);
}

// A reply as it would come: each message after its pause, of which a long one is cut short.
const LONGEST_PAUSE = 4;
async function typed(answer, signal) {
  const lines = answer.text.split("\n").filter((line) => line.trim());
  const waits = answer.z?.pauses?.[0] ?? [];
  answer.text = "";
  for (const [number, line] of lines.entries()) {
    if (signal.aborted) break;
    if (!answer.node.querySelector(".waiting")) answer.node.append(make("div", { class: "bubble waiting", role: "status" }, "…"));
    await pause(Math.min(waits[number] ?? 0, LONGEST_PAUSE), signal).catch(() => {});
    answer.node.querySelector(".waiting")?.remove();
    answer.text += (number ? "\n" : "") + line;
    grow(answer);
  }
  if (signal.aborted) { answer.text = lines.join("\n"); grow(answer); } // it was written: Stop stops the waiting
}

function stop() {
  writing?.abort(new DOMException("stopped", "AbortError"));
  writing = null;
  busy(false);
}

function busy(on) {
  $("stop").hidden = !on;
  $("send").hidden = on;
}

function again() {
  const last = path().at(-1);
  if (last?.answers) reply(parentOf(last));
}

function write(text) {
  if (writing || !settings()) return;
  const turn = { you: text, next: [], shown: 0 };
  beside(turn, path().at(-1) || root);
  keep(); // it is there after a reload, whether it was answered or not
  reply(turn);
}

const bubbles = (text) => text.split("\n").filter((line) => line.trim()).map((line) => make("div", { class: "bubble", dir: "auto" }, line));

function grow(answer) { // only what is being written is touched: a selection elsewhere stays
  const scroll = $("scroll"), below = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const lines = answer.text.split("\n").filter((line) => line.trim());
  const shown = answer.node.querySelectorAll(".bubble");
  lines.forEach((line, number) => {
    if (number >= shown.length) answer.node.append(...bubbles(line));
    else if (shown[number].textContent !== line) shown[number].textContent = line;
  });
  if (lines.length) answer.node.querySelector(".waiting")?.remove();
  if (below) scroll.scrollTop = scroll.scrollHeight;
}

const act = (label, click, more = {}) => make("button", { type: "button", ...more, on: { click } }, label);

function item(turn, parent) {
  const acts = make("div", { class: "acts" });
  const siblings = parent.next.length;
  if (siblings > 1) {
    const go = (by) => () => { parent.shown = (parent.shown + by + siblings) % siblings; redraw(turn); };
    acts.append(act("‹", go(-1), { ariaLabel: "The version before" }), make("span", { class: "who" }, `${parent.next.indexOf(turn) + 1} of ${siblings}`), act("›", go(1), { ariaLabel: "The next version" }));
  }
  const text = turn.you ?? turn.answers[turn.kept].text;
  const said = make("div", { class: "said" });
  if (turn.you !== undefined) said.append(...bubbles(turn.you));
  else {
    acts.append(act("Again", () => reply(parent), { title: "Write another version; this one stays (Alt+R)" }));
    const two = turn.answers.length > 1;
    said.className = `answers${two ? " two" : ""}`;
    said.append(...turn.answers.map((answer, index) => answered(answer, turn, index, two)));
  }
  if (text) acts.append(act("Copy", () => navigator.clipboard.writeText(text).then(() => tell("Copied"), () => tell("the browser does not allow copying", true))));
  acts.append(act("Edit", () => edit(turn, parent, node)), act("Delete", () => remove(turn, parent)));
  const node = make("li", { class: `turn${turn.you !== undefined ? " you" : ""}` }, said, acts);
  return node;
}

function answered(answer, turn, index, two) {
  const before = path(turn).filter((one) => one.answers && one !== turn).flatMap((one) => one.answers[one.kept].z?.notes ?? []); // what was said once
  const left = two && index !== turn.kept;
  const node = make("div", { class: `answer${left ? " left" : ""}` });
  node.append(make("div", { class: "who" }, make("bdi", {}, called(answer.z?.speaker || $("speaker").value)), ` · ${answer.adapter}${left ? " · not chosen" : ""}`));
  answer.node = make("div", {}, ...bubbles(answer.text));
  if (answer.writing && !answer.text) answer.node.append(make("div", { class: "bubble waiting" }, "…"));
  node.append(answer.node);
  if (answer.stopped) node.append(make("div", { class: "note" }, "stopped"));
  if (!answer.writing && !answer.text && !answer.error && !answer.stopped) node.append(make("div", { class: "note" }, "the model said nothing"));
  if (answer.error) node.append(make("div", { class: "note error" }, answer.error));
  if (answer.z && !answer.writing) node.append(chips(answer, turn), ...answer.z.notes.filter((note) => !before.includes(note)).map((note) => make("div", { class: "note" }, note)));
  if (left) node.append(make("div", { class: "acts" }, act("Go on with this", () => { turn.kept = index; redraw(turn); })));
  return node;
}

function chips(answer, turn) { // what was set, read or drawn; the whole of z on demand
  const node = make("div", { class: "z" });
  const slots = Object.entries(answer.z.z);
  const matters = slots.filter(([, slot]) => slot.value !== null && slot.source !== "profile");
  const shown = answer.all ? slots : matters.length ? matters : slots.filter(([, slot]) => slot.value !== null);
  for (const [name, slot] of shown) {
    const source = slot.value === null ? "null" : slot.source;
    const where = { given: "set", profile: "the speaker's own", conversation: "read in the conversation", sampled: "drawn", null: "none" }[source];
    const rate = slot.rate ? `, in ${+(100 * slot.rate.given).toFixed(1)} of 100 replies` : "";
    const one = act(`${name}: ${slot.value ?? "none"}`, () => menu(one, name, slot, answer, turn), { class: source, title: `${where}${rate}; choose to write the reply again with another value` });
    node.append(one);
  }
  if (shown.length < slots.length || answer.all) node.append(act(answer.all ? "fewer traits" : "all traits", () => { answer.all = !answer.all; redraw(turn); }, { class: "all" }));
  for (const one of answer.z.candidates ?? []) node.append(make("span", { class: "who" }, lookedAt(one)));
  return node;
}

function lookedAt({ number, written, met, put = [] }) { // which of the replies that were written this is
  const missed = Object.keys(met).filter((name) => !met[name]);
  if (!missed.length && put.length) return `${put.join(" and ")}: put in, at a place drawn by how likely it was there`;
  if (!missed.length) return number ? `reply ${number + 1} of those looked at` : "the first reply met what was asked";
  return `none of ${written} replies met all that was asked; this one misses ${missed.join(", ")}`;
}

function why(name, slot, answer) { // where a value of a reply comes from, in a sentence
  const who = called(answer.z.speaker);
  if (slot.value === null) return slot.rate ? `Left out of this reply: it is to show in ${+(100 * slot.rate.given).toFixed(1)} of 100.` : `No ${name} was asked for in this reply.`;
  return {
    given: "You set it.",
    profile: `A habit of ${who}, read in what ${who} wrote.`,
    conversation: "Read in what was said here before this reply.",
    sampled: space.dimensions.find((one) => one.name === name)?.draws === "speaker" ? `Drawn as often as ${who} writes so.` : `Drawn at random, as often as people in these chats have it: nothing of ${who} says otherwise.`,
  }[slot.source];
}

function menu(chip, name, slot, answer, turn) { // one knob, the others stay as they were drawn
  const chipRow = chip.parentNode, row = $(`knob-${name}`);
  document.querySelectorAll(".menu").forEach((one) => one.remove());
  const dimension = space.dimensions.find((one) => one.name === name);
  const listed = row.closed ? dimension.labels : [...new Set([slot.value, ...dimension.top])].filter((value) => value !== null);
  const [field, other] = choices(name, row.closed, {}, new Option("none", ""), ...listed.map((value) => new Option(value, `=${value}`)));
  field.value = slot.value === null ? "" : `=${slot.value}`;
  const close = () => { form.remove(); chip.focus(); };
  const form = make("form", { class: "menu", on: {
    submit: (event) => {
      event.preventDefault();
      const value = (field.value === "other" ? other.value.trim() : field.value.slice(1)) || null;
      set(row, "fixed", value);
      const others = Object.entries(answer.z.z).filter(([other]) => other !== name);
      const kept = others.map(([other, one]) => [other, { mode: "fixed", value: one.value, rate: one.rate?.shown ? 1 : undefined, strength: one.strength ?? (one.rate?.shown ? 0 : undefined) }]);
      const rated = slot.rate || row.often.value;
      reply(parentOf(turn), { ...Object.fromEntries(kept), [name]: { mode: "fixed", value, rate: rated ? 1 : undefined, strength: slot.strength ?? ((!row.push.hidden && Number(row.push.value)) || (rated ? 0 : undefined)) } }, Object.fromEntries(others));
    },
    keydown: (event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } },
  } }, make("p", { class: "dim" }, why(name, slot, answer)), make("label", {}, name, field), other, make("button", {}, "Write again"), act("Close", close));
  chipRow.after(form);
  form.scrollIntoView({ block: "nearest" });
  field.focus();
}

function edit(turn, parent, node) {
  const text = make("textarea", { rows: 3, dir: "auto", ariaLabel: "New text", value: turn.you ?? turn.answers[turn.kept].text });
  const close = () => redraw(turn);
  const form = make("form", { class: "menu", on: {
    submit: (event) => {
      event.preventDefault();
      const changed = text.value.trim();
      if (!changed || (turn.you !== undefined && (writing || !settings()))) return;
      if (turn.you !== undefined) {
        const mine = { you: changed, next: [], shown: 0 };
        beside(mine, parent);
        keep();
        reply(mine);
      } else {
        beside({ answers: [{ ...turn.answers[turn.kept], node: null, text: changed }], kept: 0, next: [], shown: 0 }, parent);
        draw();
        keep();
      }
    },
    keydown: (event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } },
  } }, text, make("button", {}, turn.you !== undefined ? "Say this instead" : "Keep this instead"), act("Cancel", close));
  node.append(form);
  form.scrollIntoView({ block: "nearest" });
  text.focus();
}

function remove(turn, parent) {
  stop();
  const at = parent.next.indexOf(turn);
  parent.next.splice(at, 1);
  parent.shown = Math.max(0, Math.min(parent.shown, parent.next.length - 1));
  deleted = () => { parent.next.splice(at, 0, turn); parent.shown = at; };
  $("undo").hidden = false;
  draw();
  keep();
  $("undelete").focus();
}
$("undelete").addEventListener("click", () => { deleted?.(); deleted = null; $("undo").hidden = true; draw(); keep(); $("text").focus(); });

const redraw = (turn) => { turn.drawn = null; draw(); keep(); };

function draw() { // makes what is new, leaves what is there
  const log = $("log"), scroll = $("scroll"), below = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const turns = path(), held = document.activeElement, place = [...log.children].findIndex((node) => node.contains(held));
  let parent = root;
  turns.forEach((turn, at) => {
    const form = `${parent.next.indexOf(turn)} of ${parent.next.length}`;
    if (!turn.drawn || turn.form !== form) [turn.drawn, turn.form] = [item(turn, parent), form];
    if (log.children[at] !== turn.drawn) log.insertBefore(turn.drawn, log.children[at] || null);
    parent = turn;
  });
  while (log.children.length > turns.length) log.lastChild.remove();
  if (place >= 0 && !log.contains(document.activeElement)) { // who uses the keyboard goes on where they were
    const acts = [...(log.children[place]?.querySelectorAll("button") ?? [])];
    (acts.find((one) => one.textContent === held.textContent) ?? acts.find((one) => held.className && one.className === held.className) ?? acts.find((one) => one.textContent === "Edit"))?.focus({ preventScroll: true });
  }
  $("welcome").hidden = turns.length > 0;
  if (below) scroll.scrollTop = scroll.scrollHeight;
  timeline();
}

function timeline() {
  const replies = path().filter((turn) => turn.answers).map((turn) => turn.answers[turn.kept].z?.z).filter(Boolean);
  const dimensions = space?.dimensions ?? [];
  const usual = LANES.filter((name) => dimensions.some((dimension) => dimension.name === name));
  const closed = dimensions.filter((dimension) => dimension.labels.length).map((dimension) => dimension.name);
  const lanes = (usual.length ? usual : closed.slice(0, LANES.length)).map((name) => {
    const cells = replies.map((z, number) => {
      const value = z[name]?.value ?? "none";
      const cell = make("span", { class: "cell", title: `reply ${number + 1}: ${value}` }, value);
      const hue = [...value].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
      if (value !== "none") cell.style.background = `hsl(${hue} 60% 60% / .25)`;
      return cell;
    });
    return make("div", { class: "lane" }, make("span", {}, name), ...cells);
  });
  $("timeline").hidden = !replies.length;
  $("timeline").replaceChildren(make("div", { class: "dim" }, "Traits so far"), ...lanes);
}

// --- what is kept -----------------------------------------------------------------------------------------------

const plain = () => JSON.stringify({ vvae: 1, note: "A language model wrote the persona's messages in this file.", root, speaker: $("speaker").value, adapter: $("adapter").value, me: $("me").value, persona: persona() }, (name, value) => (name === "node" || name === "drawn" || name === "form" || name === "writing" ? undefined : value));

const store = { // a browser may allow none
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, text) => { try { localStorage.setItem(name, text); return true; } catch { return false; } },
  drop: (name) => { try { localStorage.removeItem(name); } catch { /* then nothing is there */ } },
};

function keep() {
  if ($("keep").checked && !store.set(STORE, plain())) tell("the browser keeps no more of this chat: save it as a file", true);
}

function take(text) { // a chat from a file or the browser's store, if it is one
  const whole = (turn, depth = 0) => depth < 4000 && Array.isArray(turn?.next) && (turn.next.length === 0 || turn.next[turn.shown]) && (depth === 0 || typeof turn.you === "string" || turn.answers?.[turn.kept]?.text !== undefined) && turn.next.every((one) => whole(one, depth + 1));
  const found = JSON.parse(text);
  if (found?.vvae !== 1 || !whole(found.root)) throw new Error("this file is no chat of this page");
  root = found.root;
  $("me").value = found.me || "";
  for (const field of ["speaker", "adapter"]) if ([...$(field).options].some((option) => option.value === found[field])) $(field).value = found[field];
  worn = found.persona ?? null;
}

function restore() {
  $("keep").checked = store.get(`${STORE}-off`) === null;
  const text = store.get(STORE);
  if (text) try { take(text); } catch { store.drop(STORE); }
}

$("keep").addEventListener("change", () => {
  if ($("keep").checked) { store.drop(`${STORE}-off`); keep(); }
  else { store.set(`${STORE}-off`, "1"); store.drop(STORE); }
});
addEventListener("beforeunload", (event) => { if (!$("keep").checked && root.next.length) event.preventDefault(); });
$("me").addEventListener("change", keep);
$("knobs").addEventListener("change", keep);

function download(text, name) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: `${name}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
$("download").addEventListener("click", () => download(plain(), `chat with ${called($("speaker").value)} ${new Date().toISOString().slice(0, 10)}`));
$("hand-on").addEventListener("click", async () => {
  const name = $("speaker").value;
  try { download(await (await ask(`vvae/cards/${encodeURIComponent(name)}`)).text(), `persona ${name}`); } catch (error) { tell(error.message, true); }
});

async function opened(file) { // a chat that was saved, or a character card
  try {
    const png = file.name.toLowerCase().endsWith(".png");
    const text = png ? cardIn(new Uint8Array(await file.arrayBuffer())) : await file.text();
    const found = JSON.parse(text);
    if (found.vvae === 1) { take(text); await profile(); draw(); keep(); return tell("The chat is open"); }
    const kept = await (await ask("vvae/cards", { method: "POST", body: JSON.stringify({ card: found }) })).json();
    await anew(kept.name);
    tell(`${kept.name} can be talked to`);
  } catch (error) { tell(error instanceof SyntaxError ? "this file is neither a chat of this page nor a character card" : error.message, true); }
}

function cardIn(bytes) { // the card in a PNG: base64 in a text chunk called ccv3 or chara
  const view = new DataView(bytes.buffer), texts = {};
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at), kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "tEXt") {
      const [name, ...rest] = new TextDecoder("latin1").decode(bytes.subarray(at + 8, at + 8 + length)).split("\0");
      texts[name] = rest.join("\0");
    }
    at += 12 + length;
  }
  const held = texts.ccv3 || texts.chara;
  if (!held) throw new Error("there is no character card in this picture");
  return new TextDecoder().decode(Uint8Array.from(atob(held), (letter) => letter.charCodeAt(0)));
}

for (const button of ["open", "open-persona"]) $(button).addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => { if ($("file").files[0]) await opened($("file").files[0]); $("file").value = ""; });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) opened(event.dataTransfer.files[0]); });

$("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || writing || !settings()) return;
  $("text").value = "";
  $("undo").hidden = true;
  write(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("write").requestSubmit();
  }
});
$("stop").addEventListener("click", () => { stop(); $("text").focus(); });
function fresh() {
  stop();
  const former = root;
  root = { next: [], shown: 0 };
  $("likeness").hidden = true;
  deleted = former.next.length ? () => { root = former; } : null;
  $("undo").hidden = !deleted;
  showPanel(false);
  draw();
  keep();
  $("text").focus();
}
const MOST_JUDGED = 200, LONGEST_JUDGED = 4000; // the server takes no more
$("how-like").addEventListener("click", async () => { // the replies of this chat against the person's own
  const speaker = $("speaker").value, node = $("likeness");
  const said = path().filter((turn) => turn.answers).map((turn) => turn.answers[turn.kept]).filter((one) => one.text.trim() && (one.z?.speaker ?? speaker) === speaker);
  const replies = said.slice(-MOST_JUDGED).map((one) => one.text.slice(0, LONGEST_JUDGED));
  node.hidden = false;
  if (!replies.length) return node.replaceChildren("Nothing was said yet.");
  node.replaceChildren("Comparing …");
  $("how-like").disabled = true;
  try {
    const found = await (await ask("vvae/likeness", { method: "POST", body: JSON.stringify({ speaker, replies }) })).json();
    const [worth, ...said] = found.says;
    const lines = found.differences.map((says) => make("li", {}, says));
    node.replaceChildren(...said.map((text) => make("p", {}, text)), make("ul", {}, ...(lines.length ? lines : [make("li", {}, "No difference of form that is sure.")])), make("p", { class: "dim" }, worth));
  } catch (error) { node.replaceChildren(make("p", { class: "error" }, error.message)); }
  $("how-like").disabled = false;
});
$("candidates").addEventListener("change", () => { // with candidates any rate may be asked for
  const reach = space.adapters.find((one) => one.name === $("adapter").value)?.reach || {};
  for (const [name, row] of rows()) rates(row, reach[name], rateOf(row));
  keep();
});
$("new").addEventListener("click", fresh);
for (const field of ["speaker", "adapter"]) $(field).addEventListener("change", () => profile().then(keep, (error) => tell(error.message, true)));
async function anew(chosen) { // after a persona was kept or deleted: the knobs say what is kept with the chosen one
  space = await (await ask("vvae/space")).json();
  people(chosen);
  $("seed").value = "";
  tries(null);
  $("knobs").replaceChildren(...space.dimensions.map(knob));
  await profile();
}

$("save").addEventListener("click", async () => {
  const name = $("name").value.trim();
  if (!name) { tell("give the persona a name", true); return $("name").focus(); }
  const { speaker, ...asked } = persona(true);
  try {
    const kept = await (await ask(`vvae/personas/${encodeURIComponent(name)}`, { method: "PUT", body: JSON.stringify({ speaker, persona: asked }) })).json();
    root.same = { ...root.same, [kept.name]: origin(speaker) };
    await anew(kept.name);
    keep();
    tell(`${kept.name} is kept: choose it under "Who speaks"`);
  } catch (error) { tell(error.message, true); }
});
$("delete").addEventListener("click", async () => {
  const name = $("speaker").value;
  if (!space.personas.includes(name) || !confirm(`Delete the persona ${name}? This cannot be undone.`)) return;
  try {
    await ask(`vvae/personas/${encodeURIComponent(name)}`, { method: "DELETE" });
    await anew();
    keep();
    tell(`${name} is deleted`);
  } catch (error) { tell(error.message, true); }
});

// --- review -----------------------------------------------------------------------------------------------------

let place = null, total = 0, judged = null, chosen = 0; // no place: the first reply of which nothing was said

async function review() {
  try {
    const found = await (await ask(`vvae/review?number=1&${place === null ? "unsaid=true" : `start=${place}`}&speaker=${encodeURIComponent($("of").value)}`)).json();
    total = found.total;
    place = found.start;
    judged = found.items[0] || null;
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

$("use").addEventListener("click", async () => { // prior and profiles are counted anew with what was said
  $("use").disabled = true;
  try {
    const found = await (await ask("vvae/review/apply", { method: "POST", body: "{}" })).json();
    const percent = (rate) => `${+(100 * rate).toFixed(1)} %`;
    const rates = Object.entries(found.rates).map(([name, [before, after]]) => `${name}: read in ${percent(after)} of replies, before in ${percent(before)}`);
    const people = found.people.map(({ speaker, dimension, before, after }) => `${called(speaker)}: ${dimension} ${after ?? "none"}, before ${before ?? "none"}`);
    const rest = found.of > people.length ? [`and ${found.of - people.length} more`] : [];
    const said = found.readings ? `${found.readings} values are other than the encoder read them. From the next reply on:` : "Everything is as the encoder read it.";
    const adapter = "The adapter was trained on what was read before; vvae train trains it again.";
    $("changes").replaceChildren(...[said, ...rates, ...people, ...rest, adapter].map((line) => make("div", {}, line)));
    await anew($("speaker").value);
  } catch (error) { tell(error.message, true); }
  $("use").disabled = false;
});

function marked(text, span) {
  if (!span) return [text];
  const letters = Array.from(text); // evidence counts characters, JavaScript counts halves of some
  return [letters.slice(0, span[0]).join(""), make("mark", {}, letters.slice(...span).join("")), letters.slice(span[1]).join("")];
}

function judge() {
  $("place").textContent = judged ? `${place + 1} of ${total.toLocaleString("en")}` : "nothing to review";
  if (!judged) return $("item").replaceChildren();
  const names = Object.keys(judged.values);
  const reply = make("div", { class: "reply", dir: "auto" }, ...marked(judged.reply, judged.values[names[chosen]]?.evidence));
  const values = names.map((name, number) => {
    const said = judged.said[name], slot = judged.values[name];
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
  const before = judged.before.map((turn) => make("div", { class: "before", dir: "auto" }, `${turn.speaker}: ${turn.text}`));
  $("item").replaceChildren(...before, make("div", { class: "who" }, judged.speaker), reply, ...values);
}

function correct(name, node) {
  const labels = space.dimensions.find((one) => one.name === name)?.labels ?? [];
  const settings = { ariaLabel: `${name}: what it should be` };
  const input = labels.length ? make("select", settings, ...labels.map((value) => new Option(value))) : make("input", { ...settings, dir: "auto", maxLength: 400, placeholder: "what it should be" });
  const form = make("form", { class: "acts", on: { submit: (event) => { event.preventDefault(); if (input.value.trim()) say(name, "corrected", input.value.trim()); } } }, input, make("button", {}, "Keep"));
  node.append(form);
  input.focus();
}

const saying = new Set(); // of one value one verdict at a time: a key pressed twice takes nothing back
async function say(name, verdict, value = null) {
  const mine = judged, one = `${mine.pair} ${name}`; // another reply may have taken its place when the answer comes
  if (saying.has(one)) return;
  saying.add(one);
  const same = mine.said[name]?.verdict === verdict && verdict !== "corrected";
  try {
    const body = { pair: mine.pair, dimension: name, verdict: same ? null : verdict, value };
    counted((await (await ask("vvae/review", { method: "POST", body: JSON.stringify(body) })).json()).counts);
    if (same) delete mine.said[name]; else mine.said[name] = { verdict, value };
    tell("");
    if (judged === mine) {
      chosen = Math.min(Object.keys(mine.values).indexOf(name) + 1, Object.keys(mine.values).length - 1);
      judge();
    }
  } catch (error) { tell(error.message, true); }
  saying.delete(one);
}

const step = (by) => { if (place + by >= 0 && place + by < total) { place += by; review(); } };
$("back").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("of").addEventListener("change", () => { place = null; review(); });

// --- everywhere -------------------------------------------------------------------------------------------------

function tab(name) {
  for (const one of ["chat", "review"]) {
    $(one).hidden = one !== name;
    $(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    $(`tab-${one}`).tabIndex = one === name ? 0 : -1;
  }
  $("show-panel").hidden = name !== "chat";
  if (name === "review" && !judged) review();
}
for (const [one, other] of [["chat", "review"], ["review", "chat"]]) {
  $(`tab-${one}`).addEventListener("click", () => { tab(one); $(one === "chat" ? "text" : "item").focus(); }); // where its keys work
  $(`tab-${one}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.stopPropagation();
    tab(other);
    $(`tab-${other}`).focus();
  });
}
function showPanel(on) {
  $("panel").classList.toggle("shown", on);
  $("show-panel").setAttribute("aria-expanded", String(on));
}
$("show-panel").addEventListener("click", () => { showPanel(true); $("hide-panel").focus(); });
$("hide-panel").addEventListener("click", () => { showPanel(false); $("show-panel").focus(); });
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
document.addEventListener("keydown", (event) => {
  if ($("ask-key").open) return;
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName);
  if (event.altKey && event.key.toLowerCase() === "r") { event.preventDefault(); again(); }
  else if (event.altKey && event.key.toLowerCase() === "n") { event.preventDefault(); fresh(); }
  else if (event.key === "Escape") stop();
  else if (event.key === "/" && !typing && !$("chat").hidden) { event.preventDefault(); $("text").focus(); }
  else if (!$("review").hidden && judged && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const names = Object.keys(judged.values);
    const acts = { ArrowRight: () => step(1), ArrowLeft: () => step(-1),
      ArrowDown: () => { chosen = Math.min(chosen + 1, names.length - 1); judge(); },
      ArrowUp: () => { chosen = Math.max(chosen - 1, 0); judge(); },
      a: () => say(names[chosen], "accepted"), n: () => say(names[chosen], "null"),
      c: () => correct(names[chosen], $("item").querySelector(".now")) };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  }
});
load();
