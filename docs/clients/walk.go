// A walk through the bank with the client that openapi-generator makes for Go (see ../clients.md).
//
//	walk http://127.0.0.1:5000 SYSTEM_PASSWORD
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	fincore "fincore.example/fincore/client"
)

const large = 6_000_001_000 // more than 32 bits can hold

func main() {
	address, systemPassword := os.Args[1], os.Args[2]
	configuration := fincore.NewConfiguration()
	configuration.Servers = fincore.ServerConfigurations{{URL: address}}
	bank, anybody := fincore.NewAPIClient(configuration), context.Background()

	email, password := fmt.Sprintf("asha-%s@example.com", newKey()), "monsoon over the hills"
	must(bank.AuthAPI.Register(anybody).Register(*fincore.NewRegister("Asha Rao", email, password)).Execute())
	logIn := func(email, password string) context.Context {
		session := must(bank.AuthAPI.Login(anybody).Login(*fincore.NewLogin(email, password)).Execute())
		return context.WithValue(anybody, fincore.ContextAccessToken, session.Token)
	}
	asha, system := logIn(email, password), logIn("system@fincore.example", systemPassword)

	openAccount := func(name string) string {
		account := fincore.NewCreateAccount()
		account.SetName(name)
		return must(bank.AccountsAPI.CreateAccount(asha).CreateAccount(*account).Execute()).Account.Id
	}
	payer, payee := openAccount("Current"), openAccount("Savings")
	funds := fincore.NewFundAccount(payer, large)
	must(bank.TransactionsAPI.FundAccount(system).FundAccount(*funds).IdempotencyKey(newKey()).Execute())

	transfer := func(amount int64) fincore.ApiCreateTransferRequest {
		order := *fincore.NewCreateTransfer(payer, payee, amount)
		return bank.TransactionsAPI.CreateTransfer(asha).CreateTransfer(order).IdempotencyKey(newKey())
	}
	for amount := int64(500); amount < 503; amount++ {
		if posted := must(transfer(amount).Execute()); posted.Transaction.Status != fincore.TRANSACTIONSTATUS_COMPLETED {
			log.Fatal(posted.Transaction.Status)
		}
	}
	fmt.Println("Transferred.")
	_, _, err := transfer(2 * large).Execute()
	var refused *fincore.GenericOpenAPIError
	if !errors.As(err, &refused) {
		log.Fatal("not refused: ", err)
	}
	problem := refused.Model().(fincore.Problem)
	fmt.Println("Declined:", problem.Code, "-", problem.Detail)

	seen := 0
	request := bank.TransactionsAPI.ListTransactions(asha).Limit(2)
	for {
		page := must(request.Execute())
		seen += len(page.Transactions)
		cursor := page.NextCursor.Get()
		if cursor == nil {
			break
		}
		request = request.Cursor(*cursor)
	}
	fmt.Println("In the history:", seen)

	statement := must(bank.StatementsAPI.GetStatement(asha, payer).Execute())
	// By way of JSON, so that nothing of it is lost.
	var claimed fincore.ClaimedStatement
	text, _ := json.Marshal(statement)
	if err := json.Unmarshal(text, &claimed); err != nil {
		log.Fatal(err)
	}
	verdict := must(bank.StatementsAPI.VerifyStatement(asha).ClaimedStatement(claimed).Execute())
	fmt.Println("The statement is genuine:", verdict.Genuine, "Credits:", statement.TotalCredits)
	pdf := must(bank.StatementsAPI.GetStatementPdf(asha, payer).Execute())
	begin := make([]byte, 4)
	if _, err := io.ReadFull(pdf, begin); err != nil {
		log.Fatal(err)
	}
	fmt.Println("And as a file it begins with", string(begin))
	fmt.Println("Left:", must(bank.AccountsAPI.GetBalance(asha, payer).Execute()).Balance)
}

// must returns what was answered, and ends the walk if it was a refusal.
func must[Answer, Response any](answer Answer, _ Response, err error) Answer {
	if err != nil {
		log.Fatal(err)
	}
	return answer
}

func newKey() string {
	return rand.Text()
}
