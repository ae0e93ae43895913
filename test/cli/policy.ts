import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempFolder } from '../audit/event.ts';

export const POLICY = `version: 1
credentials:
  gh: { from: env:GH, stub: { env: GITHUB_TOKEN, shape: github-pat } }
  app:
    from: env:APP_KEY
    stub: { env: APP_TOKEN }
    mint: { type: github-app, app_id: 1, installation_id: 2, repositories: ["{label.repo}"], permissions: { contents: read } }
rules:
  - { name: pinned, hosts: [pinned.example.test], action: tunnel }
  - { name: no-admin, hosts: ["*.example.test"], paths: ["/admin/**"], action: deny }
  - { name: api, hosts: [api.example.test], methods: [GET], paths: ["/v1/*"], inject: [{ credential: gh, as: bearer, required: true }] }
  - { name: clone, hosts: [git.example.test], inject: [{ credential: app, as: basic, username: x }] }
  - { name: inner, hosts: [10.0.0.1, 10.1.0.1] }
  - { name: moved, hosts: [moved.example.test], ports: [443, 8443] }
profiles:
  default: { rules: [pinned, no-admin, api, clone, inner, moved] }
  small: { rules: [moved] }
upstream: { resolve: { moved.example.test: "127.0.0.1:9443" }, allow_private: [10.1.0.0/16] }
`;

/** A folder with files of these names and texts, `stubgate.yaml` among them unless it is given. */
export function policyFolder(files: Readonly<Record<string, string>>): string {
  const cwd = tempFolder();
  for (const [name, text] of Object.entries({ 'stubgate.yaml': POLICY, ...files }))
    writeFileSync(join(cwd, name), text);
  return cwd;
}
