/**
 * Works on several inputs at a time, and gives what comes of them in the inputs' order. No more than `limit` are being
 * worked on or done and not given yet; while whoever reads does not come for more, no further input is taken. What is
 * done is given even while the next input is waited for.
 */
export async function* inOrder<Input, Output>(
  inputs: AsyncIterator<Input>,
  limit: number,
  work: (input: Input) => Promise<Output>,
): AsyncGenerator<Output> {
  const pending: Promise<Output>[] = [];
  let next: Promise<IteratorResult<Input>> | undefined;
  let hasEnded = false;
  for (;;) {
    if (!hasEnded && pending.length < limit) next ??= inputs.next();
    const [front] = pending;
    if (next === undefined && front === undefined) return;
    // First the input, so that those who work are never without it.
    const come: Promise<{ input: IteratorResult<Input> } | 'output'>[] = [];
    if (next !== undefined) come.push(next.then((input) => ({ input })));
    if (front !== undefined) come.push(front.then(() => 'output'));
    const first = await Promise.race(come);
    if (first === 'output') {
      pending.shift();
      yield await front;
      continue;
    }
    next = undefined;
    if (first.input.done === true) {
      hasEnded = true;
      continue;
    }
    const output = work(first.input.value);
    // Nobody may be waiting for it yet when it fails.
    output.catch(() => {});
    pending.push(output);
  }
}
