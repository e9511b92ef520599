import static java.util.UUID.randomUUID;

import example.fincore.ApiClient;
import example.fincore.ApiException;
import example.fincore.JSON;
import example.fincore.api.AccountsApi;
import example.fincore.api.AuthApi;
import example.fincore.api.StatementsApi;
import example.fincore.api.TransactionsApi;
import example.fincore.model.*;
import java.nio.file.Files;

/** A walk through the bank with openapi-generator's client on OkHttp: Walk ADDRESS SYSTEM_PASSWORD. */
public class Walk {
    static final long LARGE = 6_000_001_000L; // more than 32 bits can hold

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        AuthApi anybody = new AuthApi(bank(address, null));
        String email = "asha-" + randomUUID() + "@example.com";
        String password = "monsoon over the hills";
        anybody.register(new Register().name("Asha Rao").email(email).password(password));
        ApiClient asha = bank(address, anybody.login(new Login().email(email).password(password)).getToken());
        Login staff = new Login().email("system@fincore.example").password(arguments[1]);
        ApiClient system = bank(address, anybody.login(staff).getToken());

        AccountsApi accounts = new AccountsApi(asha);
        String payer = accounts.createAccount(new CreateAccount().name("Current"), null).getAccount().getId();
        String payee = accounts.createAccount(new CreateAccount().name("Savings"), null).getAccount().getId();
        FundAccount funds = new FundAccount().toAccount(payer).amount(LARGE);
        new TransactionsApi(system).fundAccount(funds, randomUUID().toString(), null);

        TransactionsApi transactions = new TransactionsApi(asha);
        for (long amount = 500; amount < 503; amount++) {
            CreateTransfer transfer = new CreateTransfer().fromAccount(payer).toAccount(payee).amount(amount);
            Posted posted = transactions.createTransfer(transfer, randomUUID().toString(), null);
            if (posted.getTransaction().getStatus() != TransactionStatus.COMPLETED) throw new AssertionError(posted);
        }
        System.out.println("Transferred.");
        try {
            CreateTransfer tooMuch = new CreateTransfer().fromAccount(payer).toAccount(payee).amount(2 * LARGE);
            transactions.createTransfer(tooMuch, randomUUID().toString(), null);
        } catch (ApiException refused) {
            Problem problem = JSON.deserialize(refused.getResponseBody(), Problem.class);
            System.out.println("Declined: " + problem.getCode() + " - " + problem.getDetail());
        }

        int seen = 0;
        String cursor = null;
        do {
            TransactionPage page = transactions.listTransactions(2, cursor, null, null, null, null, null, null);
            seen += page.getTransactions().size();
            cursor = page.getNextCursor();
        } while (cursor != null);
        System.out.println("In the history: " + seen);

        StatementsApi statements = new StatementsApi(asha);
        Statement statement = statements.getStatement(payer, null, null);
        // By way of JSON, so that nothing of it is lost.
        ClaimedStatement claimed = JSON.deserialize(JSON.serialize(statement), ClaimedStatement.class);
        Boolean genuine = statements.verifyStatement(claimed).getGenuine();
        System.out.println("The statement is genuine: " + genuine + " Credits: " + statement.getTotalCredits());
        byte[] pdf = Files.readAllBytes(statements.getStatementPdf(payer, null, null).toPath());
        System.out.println("And as a file it begins with " + new String(pdf, 0, 4));
        System.out.println("Left: " + accounts.getBalance(payer, null).getBalance());
    }

    static ApiClient bank(String address, String token) {
        ApiClient client = new ApiClient().setBasePath(address);
        if (token != null) client.setBearerToken(token);
        return client;
    }
}
