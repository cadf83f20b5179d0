import type { Message } from '@bufbuild/protobuf';
import { fieldError } from '../../errors.js';

/**
 * Refuses a message that has, at any depth, a field which its type here does not have.
 * @throws EspalierError ESP_REQUEST_INVALID
 */
export function refuseUnknownFields(message: Message, path = ''): void {
  const [unknown] = message.$unknown ?? [];
  if (unknown !== undefined) {
    const field = `${path}#${unknown.no}`;
    throw fieldError('ESP_REQUEST_INVALID', field, 'no field of this number', String(unknown.no));
  }
  for (const [name, value] of Object.entries(message)) {
    if (typeof value === 'object' && value !== null && name !== '$unknown') visit(value, `${path}${name}`);
  }
}

function visit(value: object, path: string): void {
  if (isMessage(value)) {
    refuseUnknownFields(value, `${path}.`);
  } else if (Array.isArray(value)) {
    // Lists are of one type: where the first is no message, none is.
    if (!isMessage(value[0])) return;
    for (const [index, entry] of value.entries()) refuseUnknownFields(entry, `${path}[${index}].`);
  } else {
    // A map, or the case and value of a oneof.
    for (const [key, entry] of Object.entries(value)) {
      if (isMessage(entry)) refuseUnknownFields(entry, `${path}.${key}.`);
    }
  }
}

function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && '$typeName' in value;
}
