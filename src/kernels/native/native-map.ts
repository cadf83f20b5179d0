import { callNative, loadAddon } from './addon.js';

/**
 * Bytes of an open file, mapped read-only and shared with every thread and process that maps them; undefined
 * without the addon. The mapping ends when the buffer is collected, whether or not the file is still open.
 * @throws EspalierError ESP_SYSTEM where the system refuses
 */
export function mapNatively(file: number, offset: number, length: number): ArrayBuffer | undefined {
  const { addon } = loadAddon();
  return addon === null ? undefined : callNative(() => addon.mapFile(file, offset, length));
}
