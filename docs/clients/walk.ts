// A walk through the bank with the types that openapi-typescript makes (see ../clients.md).
//
//     node walk.ts http://127.0.0.1:5000 SYSTEM_PASSWORD
import { randomUUID } from "node:crypto";
import process from "node:process";
import createClient from "openapi-fetch";
import type { components, paths } from "./fincore.d.ts";

const [address, systemPassword] = process.argv.slice(2) as [string, string];

function bankFor(token?: string) {
  return createClient<paths>({
    baseUrl: address,
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
  });
}

function must<Answer>(answer: { data?: Answer; error?: components["schemas"]["Problem"] }): Answer {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const anybody = bankFor();
const session = must(
  await anybody.POST("/api/auth/register", {
    body: { name: "Asha Rao", email: `asha-${randomUUID()}@example.com`, password: "monsoon over the hills" },
  }),
);
const asha = bankFor(session.token);

async function openAccount(name: string): Promise<string> {
  return must(await asha.POST("/api/accounts/create", { body: { name, currency: "INR" } })).account.id;
}

const fromAccount = await openAccount("Current");
const toAccount = await openAccount("Savings");
const staff = must(
  await anybody.POST("/api/auth/login", { body: { email: "system@fincore.example", password: systemPassword } }),
);
const large = 6_000_001_000; // more than 32 bits can hold
must(
  await bankFor(staff.token).POST("/api/transactions/initial-funds", {
    body: { toAccount: fromAccount, amount: large, idempotencyKey: randomUUID() },
  }),
);

for (const amount of [500, 501, 502]) {
  const body = { fromAccount, toAccount, amount, idempotencyKey: randomUUID() };
  const { transaction } = must(await asha.POST("/api/transactions/create", { body }));
  if (transaction.status !== "COMPLETED") throw new Error(transaction.status);
}
console.log("Transferred.");

const declined = await asha.POST("/api/transactions/create", {
  body: { fromAccount, toAccount, amount: 2 * large, idempotencyKey: randomUUID() },
});
console.log("Declined:", declined.error?.code, "-", declined.error?.detail);

let seen = 0;
let cursor: string | undefined;
do {
  const page = must(await asha.GET("/api/transactions", { params: { query: { limit: 2, cursor } } }));
  seen += page.transactions.length;
  cursor = page.nextCursor ?? undefined;
} while (cursor !== undefined);
console.log("In the history:", seen);

const path = { accountId: fromAccount };
const statement = must(await asha.GET("/api/accounts/{accountId}/statement", { params: { path } }));
const verdict = must(await asha.POST("/api/statements/verify", { body: statement }));
console.log("The statement is genuine:", verdict.genuine, "Credits:", statement.totalCredits);
const pdf = must(
  await asha.GET("/api/accounts/{accountId}/statement.pdf", { params: { path }, parseAs: "arrayBuffer" }),
);
console.log("And as a file it begins with", new TextDecoder().decode((pdf as unknown as ArrayBuffer).slice(0, 4)));
console.log("Left:", must(await asha.GET("/api/accounts/{accountId}/balance", { params: { path } })).balance);
