/** A test's name, with why it is skipped where it is. */
export function named(what: string, reason: string | false | undefined): string {
  return reason ? `${what} (skipped: ${reason})` : what;
}
