/** Strings in one UTF-8 arena: string i is bytes [offsets[i], offsets[i + 1]). */
export interface PackedStrings {
  bytes: Uint8Array;
  offsets: Uint32Array;
}

export function packStrings(strings: readonly string[]): PackedStrings {
  const offsets = new Uint32Array(strings.length + 1);
  strings.forEach((string, index) => {
    offsets[index + 1] = offsets[index] + Buffer.byteLength(string);
  });
  const bytes = Buffer.alloc(offsets[strings.length]);
  strings.forEach((string, index) => {
    bytes.write(string, offsets[index]);
  });
  return { bytes, offsets };
}

export function unpackStrings({ bytes, offsets }: PackedStrings): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: offsets.length - 1 }, (_, index) =>
    buffer.toString('utf8', offsets[index], offsets[index + 1]),
  );
}
