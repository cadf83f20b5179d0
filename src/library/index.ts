/**
 * Espalier as a library: tries, constraint sets and rules (`espalier/static-trie`), and constrained decoding with ONNX
 * models (`espalier/decoder`). `espalier` has both.
 * @see examples/library.ts
 */
export * from './decoder.js';
export * from './static-trie.js';
