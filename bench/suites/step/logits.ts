/** Normal numbers are slow to draw; no more of them than these are, and they come round in another order. */
const MOST_DRAWN = 1 << 20;

/** Buffers of normal logits, sigma 2: enough of them that a step finds its own in no cache. */
export function logitPool(length: number, random: () => number): Float32Array[] {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const drawn = Float32Array.from({ length: Math.min(MOST_DRAWN, 4 * length) }, () => 2 * normal());
  return Array.from({ length: length * 4 > 40e6 ? 3 : 12 }, () => {
    const logits = new Float32Array(length);
    for (let at = 0; at < length; ) {
      const start = Math.floor(random() * drawn.length);
      const piece = drawn.subarray(start, Math.min(drawn.length, start + length - at));
      logits.set(piece, at);
      at += piece.length;
    }
    return logits;
  });
}
