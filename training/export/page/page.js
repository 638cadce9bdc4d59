// The page: a story of cards, and one card for what comes next.

import { readFrame } from "./frames.js";
import { StoryModel } from "./story_model.js";

const element = (id) => document.getElementById(id);
const pages = []; // each { frame, caption, painted, card }
let model = null;
let busy = true;

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

function refresh() {
  const isReady = !busy && model !== null && pages.length > 0;
  for (const id of ["paint", "write", "continue"]) element(id).disabled = !isReady;
  document.querySelectorAll(".again").forEach((button) => (button.disabled = !isReady));
  element("save").disabled = pages.length === 0;
}

/** Run a step with the buttons off; what goes wrong is shown, not lost. */
async function during(text, step) {
  if (busy) return;
  busy = true;
  refresh();
  say(text);
  await new Promise((resolve) => setTimeout(resolve, 30)); // until the text is drawn
  try {
    say((await step()) ?? "");
  } catch (error) {
    console.error(error);
    say(error.message, true);
  }
  busy = false;
  refresh();
}

function draw(page) {
  const canvas = page.card.querySelector("canvas");
  canvas.width = page.frame.width;
  canvas.height = page.frame.height;
  canvas.getContext("2d").putImageData(page.frame, 0, 0);
}

function addPage(frame, caption = "", painted = false) {
  const card = element("page").content.firstElementChild.cloneNode(true);
  const page = { frame, caption, painted, card };
  card.classList.toggle("painted", painted);
  const text = card.querySelector("textarea");
  text.value = caption;
  text.addEventListener("input", () => (page.caption = text.value));
  card.querySelector(".remove").addEventListener("click", () => removePage(page));
  card.querySelector(".again").addEventListener("click", () => paintAgain(page));
  pages.push(page);
  element("next").before(card);
  draw(page);
  refresh();
}

function removePage(page) {
  pages.splice(pages.indexOf(page), 1);
  page.card.remove();
  refresh();
}

function paintAgain(page) {
  const before = pages.slice(0, pages.indexOf(page));
  if (!before.length) return say("The first page has no page before it, from which it could be painted.", true);
  return during("Painting …", async () => {
    page.frame = await model.paint(await model.read(before), page.caption);
    draw(page);
  });
}

async function paintNext(story, caption) {
  const start = performance.now();
  addPage(await model.paint(story, caption), caption, true);
  element("caption").value = "";
  element("next").scrollIntoView({ behavior: "smooth", block: "nearest" });
  return `Painted in ${Math.round(performance.now() - start)} ms on this device.`;
}

function write(story) {
  return model.write(story, (text) => (element("caption").value = text));
}

async function addPictures(files) {
  const [height, width] = model.settings.image_size;
  for (const file of files) {
    try {
      addPage(await readFrame(file, width, height));
    } catch {
      say(`${file.name}: this is no picture that the browser can read.`, true);
    }
  }
}

async function openExample() {
  clear();
  const [height, width] = model.settings.image_size;
  for (const { picture, caption } of model.settings.example) {
    addPage(await readFrame(await (await fetch(picture)).blob(), width, height), caption);
  }
}

function clear() {
  for (const page of [...pages]) removePage(page);
  element("caption").value = "";
}

/** Save the story as one picture: the frames in a row, enlarged, each above its caption. */
function save() {
  const [height, width] = model.settings.image_size;
  const scale = Math.max(1, Math.round(288 / width));
  const [gap, text] = [16, 96];
  const canvas = document.createElement("canvas");
  canvas.width = pages.length * (scale * width + gap) + gap;
  canvas.height = scale * height + text + 2 * gap;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fbf6ee";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.font = "15px system-ui, sans-serif";
  pages.forEach((page, index) => {
    const x = gap + index * (scale * width + gap);
    context.drawImage(page.card.querySelector("canvas"), x, gap, scale * width, scale * height);
    context.fillStyle = page.painted ? "#c8451a" : "#33291f";
    lines(context, page.caption, scale * width).forEach((line, number) => {
      context.fillText(line, x, gap + scale * height + 20 * (number + 1));
    });
  });
  const link = document.createElement("a");
  link.download = "story.png";
  link.href = canvas.toDataURL();
  link.click();
}

function lines(context, text, width) {
  const result = [""];
  for (const word of text.split(/\s+/)) {
    const longer = `${result.at(-1)} ${word}`.trim();
    if (context.measureText(longer).width <= width) result[result.length - 1] = longer;
    else result.push(word);
  }
  return result.slice(0, 4);
}

function listen() {
  const on = (id, event, action) => element(id).addEventListener(event, action);
  on("next", "submit", (event) => {
    event.preventDefault();
    during("Painting …", async () => paintNext(await model.read(pages), element("caption").value.trim()));
  });
  on("write", "click", () => during("Writing …", async () => void (await write(await model.read(pages)))));
  on("continue", "click", () =>
    during("Writing and painting …", async () => {
      const story = await model.read(pages);
      return paintNext(story, await write(story));
    })
  );
  on("pictures", "change", async (event) => {
    await addPictures(event.target.files);
    event.target.value = "";
  });
  on("save", "click", save);
  on("clear", "click", clear);
  on("example", "click", openExample);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop" && model) addPictures(event.dataTransfer.files);
    });
  }
}

async function start() {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
  try {
    model = await StoryModel.load((bytes, total) => {
      say(`Loading the model: ${megabytes(bytes)} of ${megabytes(total)} MB`);
      element("progress").value = bytes / total;
    });
    listen();
    element("limit").textContent = model.settings.max_frames - 1;
    element("example").hidden = !model.settings.example.length;
    await openExample();
    say(pages.length ? "Ready. Say what happens next, or let the model do it." : "Ready. Add a picture to begin.");
    busy = false;
  } catch (error) {
    console.error(error);
    say(`The model cannot be loaded: ${error.message}`, true);
  }
  element("progress").hidden = true;
  refresh();
}

start();
