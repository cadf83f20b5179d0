import { parseArgs } from 'node:util';
import { UsageError } from './usage-error.js';

/** What a subcommand takes, and what it prints for --help. */
export interface OptionSpec {
  help: string;
  /** Options with a value, all of which may also come from the environment: --out as ESPALIER_OUT. */
  values: readonly string[];
  /** Options with a value that may be given several times; the environment gives one. */
  lists?: readonly string[];
  /** Options without a value. */
  switches: readonly string[];
  /** Names of the arguments that have no option, for messages. */
  positionals: readonly string[];
}

type Values = Record<string, string | boolean | string[] | undefined>;

/** A command line that fits its spec. */
export class Options {
  readonly positionals: readonly string[];
  readonly #values: Values;
  readonly #help: string;

  /** @throws UsageError */
  constructor(args: string[], spec: OptionSpec, environment: NodeJS.ProcessEnv = process.env) {
    this.#help = spec.help;
    const options: Record<string, { type: 'string' | 'boolean'; multiple?: boolean }> = {};
    for (const name of spec.lists ?? []) options[name] = { type: 'string', multiple: true };
    for (const name of spec.values) options[name] = { type: 'string' };
    for (const name of spec.switches) options[name] = { type: 'boolean' };
    try {
      const parsed = parseArgs({ args, options, strict: true, allowPositionals: true });
      this.#values = parsed.values as Values;
      this.positionals = parsed.positionals;
    } catch (thrown) {
      throw this.wrong((thrown as Error).message);
    }
    for (const name of spec.values) this.#values[name] ??= environment[variableOf(name)];
    for (const name of spec.lists ?? []) {
      const text = environment[variableOf(name)];
      this.#values[name] ??= text === undefined ? [] : [text];
    }
    if (this.positionals.length < spec.positionals.length) {
      throw this.wrong(`expected ${spec.positionals[this.positionals.length]}, found nothing`);
    }
    if (this.positionals.length > spec.positionals.length) {
      throw this.wrong(`unexpected ${this.positionals.slice(spec.positionals.length).join(' ')}`);
    }
  }

  isOn(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    return this.#values[name] as string | undefined;
  }

  /** Every value of an option that may be given several times. */
  texts(name: string): string[] {
    return this.#values[name] as string[];
  }

  required(name: string): string {
    return this.text(name) ?? this.#fail(`--${name}: expected a value, found nothing`);
  }

  oneOf<Choice extends string>(name: string, choices: readonly Choice[]): Choice {
    const text = this.required(name);
    const choice = choices.find((one) => one === text);
    return choice ?? this.#fail(`--${name}: expected ${choices.join(' or ')}, found ${JSON.stringify(text)}`);
  }

  integer(name: string, least: number, most: number): number {
    return this.#integerOf(name, this.required(name), least, most);
  }

  optionalInteger(name: string, least: number, most: number): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : this.#integerOf(name, text, least, most);
  }

  /** `256,256,256`. */
  integers(name: string, least: number, most: number): number[] | undefined {
    return this.text(name)
      ?.split(',')
      .map((part) => this.#integerOf(name, part, least, most));
  }

  wrong(message: string): UsageError {
    return new UsageError(message, this.#help);
  }

  #integerOf(name: string, text: string, least: number, most: number): number {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw this.wrong(
      `--${name}: expected an integer from ${least} to ${most}, found ${JSON.stringify(text)}`,
    );
  }

  #fail(message: string): never {
    throw this.wrong(message);
  }
}

/** The environment's name of an option. */
export function variableOf(name: string): string {
  return `ESPALIER_${name.toUpperCase().replaceAll('-', '_')}`;
}
