import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { needs, runOk } from '../support/clients.ts';
import { ECHO_HOST, echoScene, expectSwapped } from './scene.ts';

// The JDK takes the proxy's address from its properties, but not the credential. An Authenticator would give it, and
// would make the client drop an Authorization field of our own.
const PROGRAM = `
import java.net.*;
import java.net.http.*;
import java.util.Base64;

public class Program {
  public static void main(String[] args) throws Exception {
    String user = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo();
    String session = "Basic " + Base64.getEncoder().encodeToString(user.getBytes());
    HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
    HttpRequest request = HttpRequest.newBuilder(URI.create("https://${ECHO_HOST}/v1/items"))
      .header("Proxy-Authorization", session).header("Authorization", "Bearer " + System.getenv("API_KEY"))
      .POST(HttpRequest.BodyPublishers.ofString("hello")).build();
    HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
    System.out.println(answer.statusCode() + " " + answer.headers().map() + " " + answer.body());
    request = HttpRequest.newBuilder(URI.create("https://denied.corp.test/"))
      .header("Proxy-Authorization", session).build();
    answer = client.send(request, HttpResponse.BodyHandlers.ofString());
    System.out.println("denied " + answer.statusCode() + " " + answer.body());
  }
}
`;

needs('javac')('HttpClient sends the credential, reads the stub, and is told what is denied', async () => {
  const scene = await echoScene();
  const home = scene.env['HOME'] ?? '';
  const file = join(home, 'Program.java');
  writeFileSync(file, PROGRAM);
  const ran = await runOk('java', [file], { env: scene.env });
  await expectSwapped(scene, ran.output);
  expect(ran.stdout).toMatch(/^denied 403 \{"error":\{"code":"no_rule"/m);
});
