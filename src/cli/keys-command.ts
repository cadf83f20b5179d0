import type { EspalierError } from '../errors.js';
import {
  AuditLog,
  createKey,
  KEY_NAME,
  type KeyRecord,
  readKeyFile,
  revokeKey,
  type Scope,
  scopes,
} from '../server/index.js';
import { Options } from './options.js';
import { alignTable, printReport } from './report.js';
import { UsageError } from './usage-error.js';

const MAX_DAYS = 36_500;

const keysHelp = `Usage:
  espalier keys create --data-dir D --name NAME --scopes LIST [--expires-days N]
  espalier keys list   --data-dir D
  espalier keys revoke NAME|ID --data-dir D

Changes the API keys of the server that uses the data directory; it need not run, and notices within a second if it
does. Since the first key there is, every request needs one. Every command takes --json.

  --data-dir      The server's data directory. [ESPALIER_DATA_DIR]
  --name          Whose key it is: letters, digits, "_", "." and "-"; at most 128.
  --scopes        A list, as recommend,write: recommend (asking for recommendations), write (reading and changing
                  catalogs, sets, aliases, jobs), admin (everything).
  --expires-days  The key ends after so many days; it does not without.

create prints the key, and nothing else, on standard output. It is kept nowhere: there is no second look.`;

/** `espalier keys …` */
export async function keysCommand([name, ...args]: string[]): Promise<number> {
  if (name === '--help' || args.includes('--help')) {
    console.log(keysHelp);
    return 0;
  }
  switch (name) {
    case 'create':
      return create(args);
    case 'list':
      return list(args);
    case 'revoke':
      return revoke(args);
    default:
      throw new UsageError(
        name === undefined ? 'keys: expected a subcommand, found none' : `keys: unknown subcommand ${name}`,
        keysHelp,
      );
  }
}

async function create(args: string[]): Promise<number> {
  const values = ['data-dir', 'name', 'scopes', 'expires-days'];
  const options = new Options(args, { help: keysHelp, values, switches: ['json'], positionals: [] });
  const dataDir = options.required('data-dir');
  const name = options.required('name');
  // A name that looks like an id would make `revoke` end another key than was meant.
  if (!KEY_NAME.test(name) || /^[0-9a-f]{16}$/.test(name)) {
    throw options.wrong(`--name: expected a name such as shop-frontend, found ${JSON.stringify(name)}`);
  }
  const expiresInDays = options.optionalInteger('expires-days', 1, MAX_DAYS);
  const wanted = scopesOf(options);
  const { key, record } = await createKey(dataDir, {
    name,
    scopes: wanted,
    ...(expiresInDays !== undefined && { expiresInDays }),
  });
  // First: whatever happens to the audit log, this is the only copy.
  printReport(options.isOn('json'), { key, ...publicKey(record) }, key);
  return audit(dataDir, 'keys create', record);
}

async function list(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: keysHelp,
    values: ['data-dir'],
    switches: ['json'],
    positionals: [],
  });
  const keys = (readKeyFile(options.required('data-dir')) ?? []).map(publicKey);
  const rows = keys.map((key) => [key.name, key.id, key.scopes.join(','), key.createdAt, key.state]);
  const table = alignTable([['name', 'id', 'scopes', 'created', 'state'], ...rows]);
  printReport(options.isOn('json'), { keys }, keys.length === 0 ? 'There are no API keys.' : table);
  return 0;
}

async function revoke(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: keysHelp,
    values: ['data-dir'],
    switches: ['json'],
    positionals: ['the name or the id of a key'],
  });
  const dataDir = options.required('data-dir');
  const record = await revokeKey(dataDir, options.positionals[0]);
  printReport(options.isOn('json'), publicKey(record), `${record.name} (${record.id}) is revoked.`);
  return audit(dataDir, 'keys revoke', record);
}

function scopesOf(options: Options): Scope[] {
  const wanted = options.required('scopes').split(',');
  const unknown = wanted.find((scope) => !(scopes as readonly string[]).includes(scope));
  if (unknown === undefined) return wanted as Scope[];
  throw options.wrong(`--scopes: expected a list of ${scopes.join(', ')}, found ${JSON.stringify(unknown)}`);
}

/** @returns the exit code: 1 where the change was made, but could not be written down. */
async function audit(dataDir: string, action: string, { id, name, scopes }: KeyRecord): Promise<number> {
  let failure: EspalierError | undefined;
  const log = new AuditLog(dataDir, {
    onFailure: (error) => {
      failure = error;
    },
  });
  const by = process.env.USER ?? null;
  await log.append({
    by,
    action,
    target: { key: name, keyId: id, scopes: scopes.join(',') },
    outcome: 'done',
  });
  await log.close();
  if (failure === undefined) return 0;
  console.error(`espalier: done, but not written to the audit log: ${failure.message}`);
  return 1;
}

/** A key as it may be shown, even without its digest. */
function publicKey({ sha256: _, ...key }: KeyRecord) {
  const isExpired = key.expiresAt !== undefined && Date.parse(key.expiresAt) <= Date.now();
  const open = key.expiresAt === undefined ? 'good' : `good until ${key.expiresAt}`;
  const state = key.revokedAt !== undefined ? `revoked ${key.revokedAt}` : isExpired ? 'expired' : open;
  return { ...key, state };
}
