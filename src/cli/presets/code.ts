import type { InjectRow, Preset, PresetMaker } from './preset.ts';

/** Code hosts: one repository, what a contributor does in it; not merging, nor its settings, which can publish it. */
export const CODE: Readonly<Record<string, PresetMaker>> = {
  github: ({ repository }) => github(repository('github.com') ?? 'OWNER/REPOSITORY'),
  gitlab: ({ repository }) => gitlab(repository('gitlab.com') ?? 'GROUP/PROJECT'),
  bitbucket: ({ repository }) => bitbucket(repository('bitbucket.org') ?? 'WORKSPACE/REPOSITORY'),
};

function github(repository: string): Preset {
  const own = `/repos/${repository}`;
  const inject: InjectRow[] = [{ credential: 'github', as: 'bearer' }];
  const at = `https://api.github.com${own}`;
  return {
    title: 'GitHub',
    summary: `the API and git, of ${repository}`,
    note: 'Issues, comments and pushes are as public as the repository. GraphQL (most of gh) is left out: it does whatever the token may.',
    credentials: { github: { variable: 'GITHUB_TOKEN', shape: 'github-pat' } },
    rules: [
      {
        name: 'github-api',
        hosts: ['api.github.com'],
        methods: ['GET'],
        paths: ['/user', own, `${own}/**`],
        inject,
      },
      {
        name: 'github-write',
        hosts: ['api.github.com'],
        methods: ['POST', 'PATCH'],
        paths: ['issues', 'pulls', 'git', 'statuses', 'check-runs', 'labels', 'comments'].map(
          part => `${own}/${part}/**`,
        ),
        inject,
      },
      {
        name: 'github-git',
        hosts: ['github.com'],
        methods: ['GET', 'POST'],
        paths: gitPaths(repository),
        inject: [{ credential: 'github', as: 'basic', username: 'x-access-token' }],
      },
    ],
    allows: {
      'github-api': ['GET https://api.github.com/user', `GET ${at}/issues`],
      'github-write': [`POST ${at}/issues`, `PATCH ${at}/pulls/7`, `POST ${at}/git/refs`],
      'github-git': [
        `GET https://github.com/${repository}.git/info/refs`,
        `POST https://github.com/${repository}/git-receive-pack`,
      ],
    },
    denies: [
      'POST https://api.github.com/gists',
      'POST https://api.github.com/user/repos',
      'POST https://api.github.com/graphql',
      `PATCH ${at}`,
      `DELETE ${at}`,
      `POST ${at}/hooks`,
      `POST ${at}/forks`,
      `PUT ${at}/pulls/7/merge`,
      `PUT ${at}/actions/secrets/X`,
      'GET https://api.github.com/repos/somebody/elsewhere',
      'POST https://github.com/somebody/elsewhere.git/git-receive-pack',
    ],
  };
}

function gitlab(repository: string): Preset {
  const own = `/api/v4/projects/${encodeURIComponent(repository)}`;
  const inject: InjectRow[] = [
    { credential: 'gitlab', as: 'header', name: 'PRIVATE-TOKEN' },
    { credential: 'gitlab', as: 'bearer' },
  ];
  const at = `https://gitlab.com${own}`;
  return {
    title: 'GitLab',
    summary: `the API and git, of ${repository}`,
    note: 'Issues, comments and pushes are as public as the project. For a host of your own replace gitlab.com; a client that names the project by its number needs that number in the paths.',
    credentials: { gitlab: { variable: 'GITLAB_TOKEN', shape: 'gitlab-pat' } },
    rules: [
      {
        name: 'gitlab-api',
        hosts: ['gitlab.com'],
        methods: ['GET'],
        paths: ['/api/v4/user', own, `${own}/**`],
        inject,
      },
      {
        name: 'gitlab-write',
        hosts: ['gitlab.com'],
        methods: ['POST', 'PUT'],
        paths: GITLAB_WRITES.map(part => `${own}/${part}`),
        inject,
      },
      {
        name: 'gitlab-git',
        hosts: ['gitlab.com'],
        methods: ['GET', 'POST'],
        paths: gitPaths(repository),
        inject: [{ credential: 'gitlab', as: 'basic', username: 'oauth2' }],
      },
    ],
    allows: {
      'gitlab-api': ['GET https://gitlab.com/api/v4/user', `GET ${at}/issues`],
      'gitlab-write': [`POST ${at}/merge_requests`, `PUT ${at}/issues/7`],
      'gitlab-git': [`GET https://gitlab.com/${repository}.git/info/refs`],
    },
    denies: [
      'POST https://gitlab.com/api/v4/snippets',
      'POST https://gitlab.com/api/v4/projects',
      'POST https://gitlab.com/api/graphql',
      `PUT ${at}`,
      `POST ${at}/hooks`,
      `POST ${at}/variables`,
      `PUT ${at}/merge_requests/7/merge`,
      'POST https://gitlab.com/somebody/elsewhere.git/git-receive-pack',
    ],
  };
}

function bitbucket(repository: string): Preset {
  const own = `/2.0/repositories/${repository}`;
  const inject: InjectRow[] = [{ credential: 'bitbucket', as: 'bearer' }];
  const at = `https://api.bitbucket.org${own}`;
  return {
    title: 'Bitbucket Cloud',
    summary: `the API and git, of ${repository}, with a repository access token`,
    note: 'Comments and pushes are as public as the repository.',
    credentials: { bitbucket: { variable: 'BITBUCKET_ACCESS_TOKEN', shape: 'ATCTT3xFfGN0{160}' } },
    rules: [
      {
        name: 'bitbucket-api',
        hosts: ['api.bitbucket.org'],
        methods: ['GET'],
        paths: [own, `${own}/**`],
        inject,
      },
      {
        name: 'bitbucket-write',
        hosts: ['api.bitbucket.org'],
        methods: ['POST', 'PUT'],
        paths: [
          'pullrequests',
          'pullrequests/*',
          'pullrequests/*/comments/**',
          'commit/*/statuses/build/**',
          'refs/branches',
        ].map(part => `${own}/${part}`),
        inject,
      },
      {
        name: 'bitbucket-git',
        hosts: ['bitbucket.org'],
        methods: ['GET', 'POST'],
        paths: gitPaths(repository),
        inject: [{ credential: 'bitbucket', as: 'basic', username: 'x-token-auth' }],
      },
    ],
    allows: {
      'bitbucket-api': [`GET ${at}/pullrequests`],
      'bitbucket-write': [`POST ${at}/pullrequests`, `POST ${at}/commit/abc123/statuses/build`],
      'bitbucket-git': [`GET https://bitbucket.org/${repository}.git/info/refs`],
    },
    denies: [
      'POST https://api.bitbucket.org/2.0/snippets',
      `PUT ${at}`,
      `POST ${at}/pullrequests/7/merge`,
      `POST ${at}/hooks`,
      `POST ${at}/forks`,
      'POST https://bitbucket.org/somebody/elsewhere.git/git-receive-pack',
    ],
  };
}

/** Smart HTTP, with and without the ending that clients may leave out. */
const gitPaths = (repository: string): string[] => [
  `/${repository}.git/**`,
  `/${repository}/info/refs`,
  `/${repository}/git-*-pack`,
];

/** Below a project. Merging a request is not among them. */
const GITLAB_WRITES = [
  'issues',
  'issues/*',
  'issues/*/notes/**',
  'merge_requests',
  'merge_requests/*',
  'merge_requests/*/notes/**',
  'merge_requests/*/discussions/**',
  'repository/branches',
  'repository/commits',
  'repository/files/*',
  'statuses/*',
];
