import { type HttpUpstream, startHttp } from '../upstream.ts';

export interface GithubOptions {
  /** What `Authorization: token` or `Bearer` must carry. */
  token: string;
}

const repository = {
  id: 1,
  name: 'hello',
  full_name: 'acme/hello',
  private: true,
  default_branch: 'main',
  owner: { login: 'acme', id: 2 },
};

/** The few answers of the GitHub API that `gh` needs, behind a token; REST and GraphQL. */
export function startGithub(options: GithubOptions): Promise<HttpUpstream> {
  const hosts = ['api.github.com', 'github.com'];
  const accepted = new Set([`token ${options.token}`, `Bearer ${options.token}`, `bearer ${options.token}`]);
  return startHttp({ hosts }, (request, response) => {
    const json = (status: number, body: unknown): void => {
      response.writeHead(status, {
        'content-type': 'application/json; charset=utf-8',
        'x-oauth-scopes': 'repo, read:org',
      });
      response.end(JSON.stringify(body));
    };
    const sent = request.headers.authorization ?? '';
    if (!accepted.has(sent)) return json(401, { message: 'Bad credentials' });
    const path = request.url.split('?')[0];
    // A careless service that repeats the credential it was given.
    if (path === '/user') return json(200, { login: 'octo', id: 1, debug: sent });
    if (path === '/repos/acme/hello') return json(200, repository);
    if (path === '/repos/acme/hello/issues' && request.method === 'POST') {
      const { title } = JSON.parse(request.body.toString()) as { title: string };
      return json(201, { number: 7, title });
    }
    if (path === '/graphql') return json(200, { data: { viewer: { login: 'octo' } } });
    json(404, { message: 'Not Found' });
  });
}
