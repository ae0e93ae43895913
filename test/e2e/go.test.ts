import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { needs, runOk } from '../support/clients.ts';
import { ECHO_HOST, echoScene, expectSwapped } from './scene.ts';

const PROGRAM = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func show(request *http.Request) {
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	body, _ := io.ReadAll(answer.Body)
	fmt.Println(answer.StatusCode, answer.Header, string(body))
}

func main() {
	request, _ := http.NewRequest("POST", "https://${ECHO_HOST}/v1/items", strings.NewReader("hello"))
	request.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
	show(request)
	request, _ = http.NewRequest("GET", "https://denied.corp.test/", nil)
	show(request)
}
`;

needs('go')(
  'sends the credential, reads the stub, and is told what is denied',
  async () => {
    const scene = await echoScene();
    const cwd = join(scene.env['HOME'] ?? '', 'program');
    mkdirSync(cwd);
    writeFileSync(join(cwd, 'main.go'), PROGRAM);
    writeFileSync(join(cwd, 'go.mod'), 'module program\n\ngo 1.19\n');
    // The compiler itself has no business on the network.
    const env = { ...scene.env, GOFLAGS: '-mod=mod', GOPROXY: 'off', GOTOOLCHAIN: 'local' };
    await runOk('go', ['build', '-o', 'program', '.'], { env, cwd, timeout: 90_000 });
    const ran = await runOk(join(cwd, 'program'), [], { env, cwd });
    await expectSwapped(scene, ran.output);
    expect(scene.upstream.requests[0]?.body.toString()).toBe('hello');
    expect(ran.stdout).toContain('"code":"no_rule"');
  },
  120_000,
);
