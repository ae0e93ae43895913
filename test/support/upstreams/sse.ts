import { startServer, type Upstream } from '../upstream.ts';

export interface SseUpstream extends Upstream {
  /** Lets the next event out: to be called once the client has shown that it holds the one before. */
  acknowledge(): void;
  /** `Authorization` of the requests so far. */
  readonly credentials: readonly (string | undefined)[];
}

/** Server-sent events (WHATWG HTML, section 9.2): the first at once, each further one only once it is acknowledged. */
export async function startSse(host: string, events: readonly string[]): Promise<SseUpstream> {
  const credentials: (string | undefined)[] = [];
  let permits = 0;
  let wake = (): void => undefined;
  const upstream = await startServer({ hosts: [host] }, (request, response) => {
    credentials.push(request.headers.authorization);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    let sent = 0;
    const send = (): void => {
      while (sent < events.length && sent <= permits) response.write(`data: ${events[sent++]}\n\n`);
      if (sent === events.length) response.end();
    };
    wake = send;
    send();
  });
  const acknowledge = (): void => {
    permits += 1;
    wake();
  };
  return { ...upstream, acknowledge, credentials };
}
