/** A request that publishes, or hands to another account, what its sender knows. Paths that nobody would allow by name. */
export interface WayOut {
  readonly host: string;
  readonly method: string;
  readonly path: string;
  readonly does: string;
}

const way = (host: string, method: string, path: string, does: string): WayOut => ({
  host,
  method,
  path,
  does,
});

/** Of services that sandboxes are often let to; each as its vendor documents it. */
export const WAYS_OUT: readonly WayOut[] = [
  way('api.github.com', 'POST', '/gists', 'publishes a gist'),
  way('api.github.com', 'POST', '/user/repos', 'makes a repository'),
  way('api.github.com', 'POST', '/repos/somebody/elsewhere/issues', 'writes an issue in any repository'),
  way('api.github.com', 'POST', '/graphql', 'does whatever the credential may'),
  way('github.com', 'POST', '/somebody/elsewhere.git/git-receive-pack', 'pushes to any repository'),
  way('gitlab.com', 'POST', '/api/v4/snippets', 'publishes a snippet'),
  way('gitlab.com', 'POST', '/api/v4/projects', 'makes a project'),
  way('gitlab.com', 'POST', '/api/graphql', 'does whatever the credential may'),
  way('gitlab.com', 'POST', '/somebody/elsewhere.git/git-receive-pack', 'pushes to any repository'),
  way('api.bitbucket.org', 'POST', '/2.0/snippets', 'publishes a snippet'),
  way('bitbucket.org', 'POST', '/somebody/elsewhere.git/git-receive-pack', 'pushes to any repository'),
  way('huggingface.co', 'POST', '/api/repos/create', 'makes a repository'),
  way('slack.com', 'POST', '/api/files.sharedPublicURL', 'publishes a file'),
  way('www.googleapis.com', 'POST', '/drive/v3/files/any/permissions', 'shares a file with anybody'),
  way('api.dropboxapi.com', 'POST', '/2/sharing/create_shared_link_with_settings', 'publishes a file'),
];
