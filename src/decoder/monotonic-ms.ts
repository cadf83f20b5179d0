/**
 * Milliseconds, fractional, on a clock that all processes of this machine share and that nobody sets. `performance.now()`
 * counts from the start of its own process, and what it counts from, `timeOrigin`, is the wall clock of that moment: two
 * processes disagree about it as soon as the wall clock has been set in between.
 */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
