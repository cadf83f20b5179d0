/** Buffers of normal logits, sigma 2: enough of them that a step finds its own in no cache. */
export function logitPool(length: number, random: () => number): Float32Array[] {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  // They are slow to draw; each buffer begins elsewhere in the same ones.
  const drawn = Float32Array.from({ length: 1 << 20 }, () => 2 * normal());
  return Array.from({ length: length * 4 > 40e6 ? 3 : 12 }, () => {
    const offset = Math.floor(random() * drawn.length);
    const logits = new Float32Array(length);
    for (let at = 0; at < length; at++) logits[at] = drawn[(offset + at * 7) % drawn.length];
    return logits;
  });
}
