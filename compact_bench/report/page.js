"use strict";
// Sort, filter, choose columns, mark a row, browse questions. What is chosen stands in the page's
// address, so that a link leads to what is seen. Records become text nodes and nothing else.
let state = new URLSearchParams();
let showQuestions = () => {};
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, properties = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
};
const set = (key, value) => {
  if (value) state.set(key, value);
  else state.delete(key);
  history.replaceState(null, "", `#${state}`);
  show();
};

// Rows are known by their labels: "name", or "name · condition", which the bare name stands for too.
const isMarked = (text, row = state.get("row")) =>
  Boolean(row) && (text === row || text.split(" · ")[0] === row || row.split(" · ")[0] === text);
const mark = (label) => set("row", state.get("row") === label ? "" : label);

// Tables
const amount = (text) => {
  const found = /^[<*\s]*([+−-]?\d[\d.]*(?:e[+-]?\d+)?)([kMG]?)/.exec(text);
  const unit = { k: 1e3, M: 1e6, G: 1e9 };
  return found ? parseFloat(found[1].replace("−", "-")) * (unit[found[2]] ?? 1) : NaN;
};
const textAt = (line, column) => line.cells[column].textContent.trim();
const sorted = (lines, column, way) => {
  const numbers = column > 0 && lines.filter((line) => amount(textAt(line, column)) > -Infinity);
  if (!numbers || 2 * numbers.length < lines.length) {
    const compare = (a, b) => textAt(a, column).localeCompare(textAt(b, column), "en", { numeric: true });
    return [...lines].sort((a, b) => way * compare(a, b));
  }
  const rest = lines.filter((line) => !numbers.includes(line)); // without a value: last either way
  numbers.sort((a, b) => way * (amount(textAt(a, column)) - amount(textAt(b, column))));
  return [...numbers, ...rest];
};
const prepareTable = (table) => {
  const id = table.closest("[id]").id;
  const heads = all("thead th", table);
  const lines = all("tbody tr", table);
  heads.forEach((head, column) => {
    const ways = column ? ["descending", "ascending"] : ["ascending", "descending"];
    const press = () => {
      const [at, way] = (state.get(`sort.${id}`) ?? "").split(".");
      const next = ways[Number(at) === column && at ? ways.indexOf(way) + 1 : 0];
      set(`sort.${id}`, next && `${column}.${next}`);
    };
    const button = make("button", { type: "button", title: "Sort", onclick: press });
    button.append(...head.childNodes);
    head.append(button);
  });
  for (const line of lines) {
    const head = line.cells[0];
    if (head.tagName !== "TH" || find("a", head)) continue;
    const label = head.textContent.trim();
    head.replaceChildren(make("button", {
      type: "button", textContent: label, title: "Mark this row everywhere", onclick: () => mark(label),
    }));
  }
  const boxes = heads.slice(1).map((head, at) => {
    const box = make("input", { type: "checkbox", checked: true });
    box.onchange = () => {
      const off = boxes.flatMap((one, number) => (one.checked ? [] : [number + 1]));
      set(`hide.${id}`, off.join("."));
    };
    return box;
  });
  if (boxes.length > 2) {
    const labels = boxes.map((box, at) => make("label", {}, box, ` ${heads[at + 1].textContent}`));
    const menu = make("details", { className: "columns" }, make("summary", { textContent: "Columns" }));
    menu.append(...labels);
    table.closest(".scroll").before(menu);
  }
  return () => {
    const [column, way] = (state.get(`sort.${id}`) ?? "").split(".");
    const known = column && heads[column];
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (known) known.ariaSort = way;
    table.tBodies[0].append(...(known ? sorted(lines, column, way === "descending" ? -1 : 1) : lines));
    const off = new Set((state.get(`hide.${id}`) ?? "").split(".").filter(Boolean).map(Number));
    boxes.forEach((box, at) => (box.checked = !off.has(at + 1)));
    for (const line of table.rows) [...line.cells].forEach((cell, at) => (cell.hidden = off.has(at)));
  };
};
const showRows = () => {
  const wanted = (state.get("q") ?? "").toLowerCase().split(",").map((part) => part.trim());
  for (const line of all("tbody tr")) {
    const label = line.cells[0].textContent.trim();
    line.hidden = !wanted.some((part) => label.toLowerCase().includes(part));
    line.classList.toggle("chosen", isMarked(label));
  }
};

// Figures: an image becomes a drawing in a shadow tree, where its ids can't meet another's.
const DRAWN = `svg { display: block; max-width: 100%; max-height: inherit; height: auto }
  [data-row] { cursor: pointer } .marked [data-row]:not(.chosen) { opacity: .1 }
  text.chosen { font-weight: 700 !important; fill: #b3390a }`;
const prepareFigure = (image) => {
  const source = decodeURIComponent(image.src.slice(image.src.indexOf(",") + 1));
  const svg = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
  const host = make("div", { className: "drawing", role: "img", ariaLabel: image.alt });
  host.attachShadow({ mode: "open" }).append(make("style", { textContent: DRAWN }), svg);
  image.replaceWith(host);
  const parts = all("[data-row]", svg);
  for (const part of parts) {
    const title = document.createElementNS(svg.namespaceURI, "title");
    title.textContent = part.dataset.row;
    part.prepend(title);
    part.onclick = () => mark(part.dataset.row);
  }
  return () => {
    for (const part of parts) part.classList.toggle("chosen", isMarked(part.dataset.row));
    for (const text of all("text", svg)) text.classList.toggle("chosen", isMarked(text.textContent.trim()));
    svg.classList.toggle("marked", parts.some((part) => part.classList.contains("chosen")));
  };
};

// Questions
const steps = (text) => text.trim().split(/(?<=[.!?])\s+|\n+/);
const verdict = (right, text) =>
  make("b", { className: right ? "right" : "wrong", textContent: `${right ? "✓" : "✗"} ${text}` });
const fault = ([, , , , right, name]) => name || (right ? "" : "wrong answer");
const cell = (textContent) => make("td", { textContent });
const head = (textContent) => make("th", { scope: "row", textContent });
const table = (heads, lines) => {
  const titles = heads.map((textContent) => make("th", { scope: "col", textContent }));
  const parts = [make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...lines)];
  return make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, ...parts));
};
const answers = (data, one, first) => {
  const order = new Set([...first.filter((row) => row >= 0), ...data.rows.keys()]);
  const lines = [...order].filter((row) => one.given[row].length).map((row) => {
    const given = one.given[row];
    const span = given.length < data.seeds.length ? data.seeds.length : 1; // of a row without seeds
    const cells = given.map((at) => {
      if (at < 0) return cell("–");
      const [output, extracted, right] = one.outputs[at];
      const text = make("pre", { textContent: steps(output).join("\n") });
      return make("td", { colSpan: span }, verdict(right, extracted), text);
    });
    const known = given.filter((at) => at >= 0);
    const right = known.filter((at) => one.outputs[at][2]).length;
    return make("tr", {}, head(data.rows[row]), cell(`${right}/${known.length}`), ...cells);
  });
  return [table(["row", "right", ...data.seeds.map((seed) => `seed ${seed}`)], lines)];
};
const card = (one, rationale) => {
  const [teacher, sample, text, answer, right] = rationale;
  const about = ` answer ${answer || "missing"}${fault(rationale) && ` · fault: ${fault(rationale)}`}`;
  const title = verdict(right, teacher + (sample ? ` ${sample + 1}` : ""));
  const items = one.texts[text] ? steps(one.texts[text]) : ["The text is not published."];
  return make("article", { className: `sample ${right ? "right" : "wrong"}` },
    make("p", { className: "verdict" }, title, make("span", { className: "muted", textContent: about })),
    make("ol", {}, ...items.map((textContent) => make("li", { textContent }))));
};
const rationales = (data, one) => {
  const names = Object.keys(one.rationales);
  const condition = names.find((name) => name === state.get("condition")) ?? names[0];
  const own = one.rationales[condition];
  const earlier = data.training.slice(0, data.training.indexOf(one));
  const before = earlier.reduce((sum, other) => sum + (other.rationales[condition] ?? []).length, 0);
  const lines = data.weights.filter((row) => row.condition === condition).flatMap((row) =>
    Object.entries(row.values).map(([quantity, values]) => {
      const texts = values.slice(before, before + own.length).map((epochs) =>
        epochs.map((value) => value?.toFixed(2) ?? "–").join(" → "));
      return make("tr", {}, head(data.rows[row.row]), cell(quantity), ...texts.map(cell));
    }));
  const choice = make("select", { ariaLabel: "Condition", onchange: () => set("condition", choice.value) });
  choice.append(...names.map((name) => new Option(name, name, false, name === condition)));
  const made = [make("div", { className: "rationales" }, ...own.map((each) => card(one, each)))];
  if (names.length > 1) made.unshift(choice);
  const note = "By epoch, mean over seeds; rows that weigh all alike are left out.";
  if (lines.length) made.push(make("p", { className: "caption", textContent: note }),
    table(["row", "", ...own.map(([teacher]) => teacher)], lines));
  return made;
};
const prepareQuestions = (data) => {
  const kinds = [...new Set(data.asked.map((one) => one.task)), ...(data.training.length ? ["training"] : [])];
  const every = [...data.asked, ...data.training];
  const kind = (one) => one.task ?? "training";
  const faults = (one) => Object.values(one.rationales ?? {}).flat().map(fault).filter(Boolean);
  const share = (one, row) => {
    const known = (one.given?.[row] ?? []).filter((at) => at >= 0);
    return known.filter((at) => one.outputs[at][2]).length / known.length; // NaN without answers
  };
  const options = {
    of: kinds.map((name) => [data.tasks[name] ?? "training", name]),
    right: data.rows.map((name) => [name, name]),
    wrong: data.rows.map((name) => [name, name]),
    fault: [...new Set(every.flatMap(faults))].sort().map((name) => [name, name]),
  };
  for (const [key, pairs] of Object.entries(options)) {
    const box = find(`#pick-${key}`);
    box.append(new Option("any", ""), ...pairs.map(([text, value]) => new Option(text, value)));
    box.onchange = () => set(key, box.value);
  }
  find("#pick-find").oninput = (event) => set("find", event.target.value);
  return () => {
    for (const key of ["find", ...Object.keys(options)]) find(`#pick-${key}`).value = state.get(key) ?? "";
    const words = (state.get("find") ?? "").toLowerCase();
    const [right, wrong] = ["right", "wrong"].map((key) => data.rows.indexOf(state.get(key)));
    const fits = every.filter((one) =>
      (!state.get("of") || kind(one) === state.get("of")) &&
      `${one.question} ${one.id} ${one.gold}`.toLowerCase().includes(words) &&
      (right < 0 || share(one, right) > 0.5) && (wrong < 0 || share(one, wrong) < 0.5) &&
      (!state.get("fault") || faults(one).includes(state.get("fault"))));
    if (right >= 0 && wrong >= 0) {
      const lead = (one) => share(one, right) - share(one, wrong);
      fits.sort((a, b) => lead(b) - lead(a)); // the clearest first
    }
    const shown = fits.find((one) => one.id === state.get("question")) ?? fits[0];
    find("#count").textContent = `${fits.length} of ${every.length} questions`;
    find("#questions").replaceChildren(...fits.map((one) => {
      const text = `${one.question || one.id} · ${data.tasks[kind(one)] ?? "training"}`;
      const button = make("button", { type: "button", textContent: text, onclick: () => set("question", one.id) });
      if (one === shown) button.ariaCurrent = "true";
      return make("li", {}, button);
    }));
    const title = shown && make("h3", { textContent: shown.question || shown.id });
    const gold = shown && make("p", { className: "muted", textContent: `Answer: ${shown.gold}` });
    const body = shown && (shown.given ? answers(data, shown, [right, wrong]) : rationales(data, shown));
    find("#question").replaceChildren(...(shown ? [title, gold, ...body] : ["No question fits."]));
  };
};
const unpack = async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
};

const parts = [...all("main table, #answer table").map(prepareTable), ...all("img").map(prepareFigure)];
const show = () => {
  parts.forEach((part) => part());
  showQuestions();
  showRows();
  find("#row-filter").value = state.get("q") ?? "";
  find("#marked").textContent = state.get("row") ? `marked: ${state.get("row")}` : "";
};
const restore = () => {
  if (!location.hash.includes("=")) return; // a place on the page, no state
  state = new URLSearchParams(location.hash.slice(1));
  show();
  if (["of", "find", "right", "wrong", "fault", "question"].some((key) => state.has(key))) {
    find("#samples")?.scrollIntoView();
  }
};
document.documentElement.classList.add("js");
find("#row-filter").oninput = (event) => set("q", event.target.value);
window.onhashchange = restore;
restore();
if (find("#browser-data")) {
  unpack(find("#browser-data").textContent).then((data) => {
    showQuestions = prepareQuestions(data);
    find("#first-samples").hidden = true;
    find("#browser").hidden = false;
    show();
    restore();
  });
}
