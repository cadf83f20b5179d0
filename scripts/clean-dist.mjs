// A file deleted from src/ must not live on in dist/, so every build starts from nothing.
import { rmSync } from 'node:fs';

rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true });
