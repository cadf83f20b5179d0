/** A command line that cannot be understood. */
export class UsageError extends Error {
  /** What to print below the message; the whole command's usage where there is none. */
  readonly help: string | undefined;

  constructor(message: string, help?: string) {
    super(message);
    this.help = help;
  }
}
