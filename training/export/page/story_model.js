// The exported model: it reads a story, writes the next caption, and paints the next frame, all on this device.

import { toFrame, toValues } from "./frames.js";

const PARTS = ["text_encoder", "story_encoder", "frame_decoder", "text_decoder"];

export class StoryModel {
  /** Load settings, libraries and parts; `onProgress(bytes, total)` is called while the parts come in. */
  static async load(onProgress = () => {}) {
    const settings = await (await fetched("model.json")).json();
    const library = (name) => import(new URL(settings.libraries[name], document.baseURI));
    const [ort, { Tokenizer }] = await Promise.all([library("onnxruntime"), library("tokenizers")]);
    ort.env.wasm.numThreads = 1; // several threads need headers that most servers do not send
    ort.env.logLevel = "error";
    const total = PARTS.reduce((sum, name) => sum + settings.bytes[name], 0);
    const files = [];
    let before = 0;
    for (const name of PARTS) {
      files.push(await download(`onnx/${name}.onnx`, (bytes) => onProgress(before + bytes, total)));
      before += settings.bytes[name];
    }
    const parts = {};
    for (const [index, name] of PARTS.entries()) {
      parts[name] = await ort.InferenceSession.create(files[index], { executionProviders: ["wasm"] });
    }
    const tokenizers = {};
    for (const [kind, values] of Object.entries(settings.tokenizers)) {
      const content = await (await fetched(values.file)).json();
      // A caption that happens to hold "</s>" is text like any other.
      content.added_tokens = content.added_tokens.filter((token) => !token.special);
      tokenizers[kind] = { ...values, tokenizer: new Tokenizer(content, values.config) };
    }
    return new StoryModel(ort, settings, parts, tokenizers);
  }

  constructor(ort, settings, parts, tokenizers) {
    Object.assign(this, { ort, settings, parts, tokenizers });
  }

  /** Encode a caption with its start and end token for the "text" encoder or decoder; a blank one has no ids. */
  encode(text, kind = "text") {
    const { tokenizer, start, end } = this.tokenizers[kind] ?? this.tokenizers.text;
    if (!text?.trim()) return [];
    const { ids } = tokenizer.encode(text, { add_special_tokens: false });
    return [start, ...ids.slice(0, this.settings.max_caption_length - 2), end];
  }

  /** Decode what the text decoder wrote. */
  decode(ids) {
    const { tokenizer, special } = this.tokenizers.decoder ?? this.tokenizers.text;
    const words = ids.filter((id) => !special.includes(id));
    return words.length ? tokenizer.decode(words, { skip_special_tokens: true }).trim() : "";
  }

  /** Read the last pages of a story, each `{ frame, caption }`: what `write` and `paint` go on from. */
  async read(pages) {
    const last = pages.slice(1 - this.settings.max_frames);
    const [height, width] = this.settings.image_size;
    const pixels = toValues(last.map((page) => page.frame), this.settings);
    const pixelValues = new this.ort.Tensor("float32", pixels, [1, last.length, 3, height, width]);
    const { states, mask } = await this.readCaptions(last.map((page) => page.caption));
    const inputs = { pixel_values: pixelValues, text_states: states, attention_mask: mask };
    const context = last.slice(last.length - Math.min(this.settings.decoder_context_captions, last.length));
    return {
      pixel_values: pixelValues,
      ...(await this.parts.story_encoder.run(inputs)),
      context: context.flatMap((page) => this.encode(page.caption, "decoder")),
    };
  }

  /** Paint the next frame of a story that was read, by its caption, which may be blank. */
  async paint(story, caption) {
    return toFrame(await this.paintValues(story, caption), this.settings.image_size);
  }

  /** The same as numbers (3, H, W) in [0, 1]. */
  async paintValues(story, caption) {
    const { states, mask } = await this.readCaptions([caption]);
    const inputs = { ...story, next_states: states, next_mask: mask };
    const names = this.parts.frame_decoder.inputNames;
    const { frame } = await this.parts.frame_decoder.run(Object.fromEntries(names.map((name) => [name, inputs[name]])));
    return frame.data;
  }

  /** Write the next caption greedily; `onText` is called with the caption so far. */
  async write(story, onText = () => {}) {
    const { start, end } = this.tokenizers.decoder ?? this.tokenizers.text;
    const room = this.settings.max_decoder_tokens - story.context.length - story.story_state.dims[1];
    const most = Math.min(this.settings.max_caption_length, Math.max(room, 1));
    const ids = [start];
    while (ids.length <= most && (ids.length === 1 || ids.at(-1) !== end)) {
      ids.push(argmax(await this.nextLogits(story, ids)));
      onText(this.decode(ids));
    }
    return this.decode(ids);
  }

  /** Compute the logits of the token behind `ids`. */
  async nextLogits(story, ids) {
    const inputs = { context_ids: this.row(story.context), story_state: story.story_state, caption_ids: this.row(ids) };
    return (await this.parts.text_decoder.run(inputs)).logits.data;
  }

  async readCaptions(captions) {
    const encoded = captions.map((caption) => this.encode(caption));
    const length = Math.max(1, ...encoded.map((ids) => ids.length));
    const padded = (values) => values.map((row) => [...row, ...Array(length - row.length).fill(0)]).flat();
    const dims = [encoded.length, length];
    const ids = this.whole(padded(encoded), dims);
    const mask = this.whole(padded(encoded.map((row) => row.map(() => 1))), dims);
    const { text_states: states } = await this.parts.text_encoder.run({ input_ids: ids, attention_mask: mask });
    return { states, mask };
  }

  row(ids) {
    return this.whole(ids, [1, ids.length]);
  }

  whole(numbers, dims) {
    return new this.ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), dims);
  }
}

function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: got status ${response.status}, expected the file`);
  return response;
}

async function download(path, onBytes) {
  const reader = (await fetched(path)).body.getReader();
  const chunks = [];
  let count = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value);
    onBytes((count += part.value.length));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
