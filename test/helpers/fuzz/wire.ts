import { varint } from '../grpc.js';
import type { Random } from '../random.js';
import type { Vocabulary } from './from-schema.js';

/** As much of a DescriptorProto as encoding takes. */
export interface MessageType {
  name: string;
  field: { name: string; number: number; label: string; type: string; typeName: string }[];
  nestedType: MessageType[];
  options: { mapEntry?: boolean } | null;
}

/** Finds a type by the name that a field of `within` has for it; undefined for what is no message. */
export type TypeLookup = (name: string, within: MessageType) => MessageType | undefined;

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const GROUP = 3;
const FIXED32 = 5;
const ODD_TEXT = ['\u0000', '../../etc/passwd', 'x'.repeat(5_000), '%00', 'a/b', '..', '?x=1', 'ünï 🎁'];
const ODD_VARINTS = [
  Buffer.of(0),
  varint(2 ** 31),
  varint(2 ** 53),
  Buffer.alloc(9, 0xff),
  Buffer.from('ffffffffffffffffff01', 'hex'),
];

/** Encodes messages as their type says, or nearly: the client's own encoder would not write what is wrong. */
export class WireWriter {
  readonly #random: Random;
  readonly #words: Vocabulary;
  readonly #typeOf: TypeLookup;

  constructor(random: Random, words: Vocabulary, typeOf: TypeLookup) {
    this.#random = random;
    this.#words = words;
    this.#typeOf = typeOf;
  }

  /** @param wrongness the share of fields that have something wrong with them */
  message(type: MessageType, wrongness: number, depth = 0): Buffer {
    const random = this.#random;
    const parts: Buffer[] = [];
    for (const field of type.field) {
      const isWanted = random.chance(type.options?.mapEntry ? 0.95 : depth > 6 ? 0.2 : 0.6);
      const count = !isWanted ? 0 : field.label === 'LABEL_REPEATED' ? random.below(4) : 1;
      for (let i = 0; i < count; i++) parts.push(this.#field(type, field, wrongness, depth));
    }
    if (random.chance(wrongness / 2)) parts.push(this.#unknownField());
    return Buffer.concat(parts);
  }

  #field(type: MessageType, field: MessageType['field'][0], wrongness: number, depth: number): Buffer {
    const random = this.#random;
    if (random.chance(wrongness / 4)) return this.#wrongWireType(field.number);
    const isWrong = random.chance(wrongness);
    switch (field.type) {
      case 'TYPE_STRING': {
        const text = random.pick(
          isWrong ? ODD_TEXT : (this.#words[wordOf(field.name, type)] ?? this.#words.text),
        );
        const isNoText = isWrong && random.chance(0.2);
        return lengthDelimited(field.number, isNoText ? Buffer.of(0xc3, 0x28) : Buffer.from(text));
      }
      case 'TYPE_BYTES':
        return lengthDelimited(field.number, Buffer.from(random.pick(this.#words.chunk)));
      case 'TYPE_DOUBLE': {
        const bytes = Buffer.alloc(8);
        bytes.writeDoubleLE(isWrong ? random.pick([Number.NaN, Infinity, -1, 1e308]) : random.below(5));
        return Buffer.concat([tag(field.number, FIXED64), bytes]);
      }
      case 'TYPE_MESSAGE': {
        if (isWrong && random.chance(0.3)) return lengthDelimited(field.number, this.#deep(field.number));
        const inner = depth > 8 ? undefined : this.#typeOf(field.typeName, type);
        return lengthDelimited(
          field.number,
          inner ? this.message(inner, wrongness, depth + 1) : Buffer.alloc(0),
        );
      }
      default:
        return Buffer.concat([
          tag(field.number, VARINT),
          isWrong ? random.pick(ODD_VARINTS) : varint(1 + random.below(4)),
        ]);
    }
  }

  /** A message within a message, and so on: of a Struct's lists, or of nothing. */
  #deep(number: number): Buffer {
    let bytes: Buffer = Buffer.alloc(0);
    for (let depth = this.#random.pick([20, 200, 3_000]); depth > 0; depth--) {
      bytes = lengthDelimited(this.#random.chance(0.9) ? 6 : number, bytes);
    }
    return bytes;
  }

  #wrongWireType(number: number): Buffer {
    const wireType = this.#random.pick([VARINT, FIXED64, BYTES, GROUP, 4, FIXED32, 6]);
    return Buffer.concat([tag(number, wireType), Buffer.from('0102030405060708', 'hex')]);
  }

  #unknownField(): Buffer {
    return Buffer.concat([tag(this.#random.pick([99, 1_000, 2 ** 28]), VARINT), varint(1)]);
  }
}

/** The value of a map of strings, and the key, are known by the map's name. */
function wordOf(name: string, { name: typeName, options }: MessageType): string {
  return options?.mapEntry ? `${name} of ${typeName}` : name;
}

function tag(number: number, wireType: number): Buffer {
  return varint(number * 8 + wireType);
}

function lengthDelimited(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([tag(number, BYTES), varint(bytes.length), bytes]);
}
