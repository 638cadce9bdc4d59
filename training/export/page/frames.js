// Pictures as frames of the model: RGBA of one size, cropped and resized as the model's image processor does.

const BICUBIC = -0.5; // the parameter of Keys' kernel that Pillow takes
const LONGEST_SIDE = 4096; // of a picture, before the browser makes it smaller: phones have small canvases

/** Read a picture file as a frame: `ImageData` of `width` x `height`. */
export async function readFrame(blob, width, height) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return fit(context.getImageData(0, 0, canvas.width, canvas.height), width, height);
}

/** Crop a picture around its center to the shape of a frame, and resize it: Pillow's `ImageOps.fit`, bicubic. */
export function fit(picture, width, height) {
  if (picture.width === width && picture.height === height) return picture;
  const isWide = picture.width / picture.height >= width / height;
  const cropWidth = isWide ? (picture.height * width) / height : picture.width;
  const cropHeight = isWide ? picture.height : (picture.width * height) / width;
  const columns = weights(picture.width, (picture.width - cropWidth) / 2, cropWidth, width);
  const rows = weights(picture.height, (picture.height - cropHeight) / 2, cropHeight, height);
  const narrow = new Uint8ClampedArray(width * picture.height * 4).fill(255);
  for (let y = 0; y < picture.height; y++) {
    resample(columns, picture.data, y * picture.width * 4, 4, narrow, y * width * 4, 4);
  }
  const frame = new ImageData(width, height);
  frame.data.fill(255);
  for (let x = 0; x < width; x++) resample(rows, narrow, x * 4, width * 4, frame.data, x * 4, width * 4);
  return frame;
}

/** Turn frames into the model's `pixel_values` (1, T, 3, H, W), normalised. */
export function toValues(frames, { image_size: [height, width], image_mean: mean, image_std: std }) {
  const area = height * width;
  const values = new Float32Array(frames.length * 3 * area);
  frames.forEach(({ data }, t) => {
    for (let channel = 0; channel < 3; channel++) {
      const start = (3 * t + channel) * area;
      for (let i = 0; i < area; i++) values[start + i] = (data[4 * i + channel] / 255 - mean[channel]) / std[channel];
    }
  });
  return values;
}

/** Turn a painted frame (3, H, W) in [0, 1] into `ImageData`. */
export function toFrame(values, [height, width]) {
  const frame = new ImageData(width, height);
  const area = height * width;
  for (let i = 0; i < area; i++) {
    for (let channel = 0; channel < 3; channel++) frame.data[4 * i + channel] = 255 * values[channel * area + i];
    frame.data[4 * i + 3] = 255;
  }
  return frame;
}

/** For each of `size` places: where its window of the `length` pixels begins, and the weights of the window. */
function weights(length, start, extent, size) {
  const scale = extent / size;
  const wide = Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const center = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - 2 * wide + 0.5));
    const end = Math.min(length, Math.trunc(center + 2 * wide + 0.5));
    const window = Array.from({ length: end - first }, (_, i) => kernel((first + i - center + 0.5) / wide));
    const sum = window.reduce((a, b) => a + b, 0);
    return [first, window.map((weight) => weight / sum)];
  });
}

function kernel(x) {
  const d = Math.abs(x);
  if (d < 1) return ((BICUBIC + 2) * d - (BICUBIC + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * BICUBIC : 0;
}

/** Resample one row or column of pixels; `step` is the distance between its pixels. */
function resample(windows, source, sourceStart, sourceStep, target, targetStart, targetStep) {
  windows.forEach(([first, window], place) => {
    for (let channel = 0; channel < 3; channel++) {
      let sum = 0;
      let at = sourceStart + first * sourceStep + channel;
      for (const weight of window) {
        sum += weight * source[at];
        at += sourceStep;
      }
      target[targetStart + place * targetStep + channel] = sum; // rounded and clamped
    }
  });
}
