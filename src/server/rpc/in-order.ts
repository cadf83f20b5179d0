/**
 * Works on what comes as it comes, on at most `limit` at a time, and gives the results in the order of what came, each
 * as soon as it and those before it are there. Nothing more is read while `limit` results wait for their reader.
 */
export async function* inOrder<In, Out>(
  inputs: AsyncIterable<In>,
  work: (input: In) => Promise<Out>,
  limit: number,
): AsyncGenerator<Out> {
  const iterator = inputs[Symbol.asyncIterator]();
  const pending: Promise<Out>[] = [];
  let next: Promise<IteratorResult<In>> | undefined;
  let ended = false;
  try {
    while (!ended || pending.length > 0) {
      if (!ended && pending.length < limit) next ??= quiet(iterator.next());
      const first = pending[0]?.then((value) => ({ value }));
      const came = next?.then((read) => ({ read }));
      const event = await Promise.race([first, came].filter((one) => one !== undefined));
      if ('value' in event) {
        pending.shift();
        yield event.value;
        continue;
      }
      next = undefined;
      if (event.read.done) ended = true;
      else pending.push(quiet(work(event.read.value)));
    }
  } finally {
    // Not waited for: it may hang on a read that nothing answers any more.
    iterator.return?.().catch(() => {});
  }
}

/** Its failure is seen when its turn comes; until then it must not count as unhandled. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
