// Sends a photo, or asks for an image of the index, and shows what lies near it.
"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const maxBytes = Number(form.dataset.maxBytes);
const shown = []; // Every search of this visit, for the browser's way back.
let current = null; // What is being shown, or asked for.
let running = null; // Ends the search that is no longer wanted.
let photoAddress = null;

// A query is {file} or {row}.
async function search(query) {
  if (!element("count").reportValidity()) return;
  running?.abort();
  const mine = new AbortController();
  running = mine;
  say("Searching...");
  try {
    const answer = await ask(query, mine.signal);
    current = query;
    shown.push({ query, answer });
    history.pushState(shown.length - 1, "");
    show(query, answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    complain(error.message);
  } finally {
    if (running === mine) running = null;
  }
}

async function ask(query, signal) {
  const neighbors = element("count").value;
  let address = `images/${query.row}/neighbors?neighbors=${neighbors}`;
  const options = { signal };
  if (query.file) {
    address = "search";
    options.method = "POST";
    options.body = new FormData();
    options.body.append("image", query.file, query.file.name);
    options.body.append("neighbors", neighbors);
  }
  let response, answer;
  try {
    response = await fetch(address, options);
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function searchFiles(files) {
  if (files.length !== 1) {
    complain(`Expected one photo at a time. Received: ${files.length} files.`);
  } else if (files[0].size > maxBytes) {
    const mebibytes = Math.ceil(files[0].size / 2 ** 20);
    complain(
      `Expected a photo of at most ${maxBytes / 2 ** 20} MiB. ` +
        `Received: ${mebibytes} MiB. Send a smaller copy.`
    );
  } else {
    search({ file: files[0] });
  }
}

function say(text) {
  element("error").textContent = "";
  element("status").textContent = text;
}

function complain(text) {
  element("status").textContent = "";
  element("error").textContent = text;
}

function show(query, answer) {
  const { name, class_name: className, image } = answer.query;
  const words = className ?? name;
  if (photoAddress) URL.revokeObjectURL(photoAddress);
  photoAddress = query.file ? URL.createObjectURL(query.file) : null;
  element("heading").textContent = query.file ? "Your photo" : "From the index";
  element("query").src = photoAddress ?? image;
  element("query").alt = query.file ? `your photo ${name}` : `${words}, image ${name}`;
  element("query").classList.toggle("tile", !query.file);
  element("caption").textContent = className ? `${className}, ${name}` : name;
  element("crop").hidden = !query.file;
  if (query.file) element("crop-image").src = image;
  element("crop-image").alt = "the same photo, resized and cropped";

  const total = answer.neighbors.length;
  const bars = answer.votes.map(({ class_name, count }) => bar(class_name, count, total));
  element("votes").hidden = !bars.length;
  element("bars").replaceChildren(...bars);
  element("neighbors").replaceChildren(...answer.neighbors.map(neighbor));
  element("results").hidden = false;
  const first = answer.votes[0];
  const vote = first ? `; ${first.count} of class ${first.class_name}` : "";
  say(`${total} nearest images of ${words}${vote}.`);
  element("heading").focus();
}

function bar(className, count, total) {
  const item = document.createElement("li");
  const fill = document.createElement("span");
  fill.className = "fill";
  fill.style.width = `${(100 * count) / total}%`;
  item.append(text("span", className), text("span", `${count} of ${total}`), fill);
  return item;
}

function neighbor({ row, name, class_name: className, distance, image }) {
  const words = className ?? name;
  const button = document.createElement("button");
  const picture = document.createElement("img");
  const label = `${words}, ${name}, distance ${distance.toFixed(2)}: search from it`;
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => search({ row }));
  picture.src = image;
  picture.alt = words;
  button.append(picture);
  if (className !== null) button.append(text("strong", className));
  button.append(text("span", name), text("span", distance.toFixed(2)));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function text(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

form.addEventListener("submit", (event) => event.preventDefault());
element("photo").addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = ""; // The same file may be chosen again.
  if (files.length) searchFiles(files);
});
element("count").addEventListener("change", () => current && search(current));
document.addEventListener("paste", (event) => {
  const files = event.clipboardData.files;
  if (files.length) searchFiles(files);
});
// The whole page: a photo that misses the frame would replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  searchFiles(event.dataTransfer.files);
});
window.addEventListener("popstate", (event) => {
  running?.abort();
  const before = shown[event.state];
  current = before?.query ?? null;
  if (before) {
    show(before.query, before.answer);
  } else {
    element("results").hidden = true;
    say("");
  }
});
