import type { Contract } from './contract.js';
import { decoderWithPastContract } from './decoder-with-past.js';
import { encoderDecoderContract } from './encoder-decoder.js';
import { logitsContract } from './logits.js';
import { sharedContextContract } from './shared-context.js';

/** Every contract by its name in the manifest. */
export const contracts = {
  logits: logitsContract,
  'decoder-with-past': decoderWithPastContract,
  'encoder-decoder': encoderDecoderContract,
  'shared-context': sharedContextContract,
} satisfies Record<string, Contract>;

export type ContractName = keyof typeof contracts;
